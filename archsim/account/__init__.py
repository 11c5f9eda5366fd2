"""What a network costs: parameters, dense operations, and energy by the formula of its paper, beside the chip's."""

from archsim.account.definition import Definition, define
from archsim.account.formula import Figures, figures
from archsim.account.report import report, show
from archsim.account.sizes import show_sizes, sizes

__all__ = ["Definition", "Figures", "define", "figures", "report", "show", "show_sizes", "sizes"]
