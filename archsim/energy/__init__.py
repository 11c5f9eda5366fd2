"""Energy and area from counters and sizes: by laws fitted to our netlists, and by a table of cited coefficients."""

from archsim.energy.coefficients import Coefficient, coefficients, field_energy_pj
from archsim.energy.model import (
    ASSUMPTIONS,
    COMPONENTS,
    NOT_MODELLED,
    area_mm2,
    area_terms,
    energy_pj,
    energy_terms,
)
from archsim.energy.term import Term

__all__ = [
    "ASSUMPTIONS", "COMPONENTS", "Coefficient", "NOT_MODELLED", "Term", "area_mm2", "area_terms", "coefficients", "energy_pj",
    "energy_terms", "field_energy_pj",
]  # fmt: skip
