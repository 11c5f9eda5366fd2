"""Energy and area from counters, memory sizes and a table of cited coefficients."""

from archsim.energy.coefficients import Coefficient, coefficients
from archsim.energy.model import (
    ASSUMPTIONS,
    COMPONENTS,
    NOT_MODELLED,
    area_mm2,
    energy_pj,
    field_energy_pj,
    rates,
)

__all__ = [
    "ASSUMPTIONS", "COMPONENTS", "Coefficient", "NOT_MODELLED", "area_mm2", "coefficients", "energy_pj",
    "field_energy_pj", "rates",
]  # fmt: skip
