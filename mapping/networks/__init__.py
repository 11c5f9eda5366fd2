"""Networks: one definition of each family, for its published sizes and its small trained one."""
