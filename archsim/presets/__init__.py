"""Chips that come with archsim, one YAML file each; every value says where it is from."""
