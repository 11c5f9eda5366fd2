"""Importers: one per network family, from an artefact folder to the intermediate representation."""
