"""Units in hardware, one file each, named as in ``archsim.contracts``."""
