"""Parameters of the classes of cases: their parameter sets and all stall patterns."""

from tests.rtl.bench import STALLS


def pytest_generate_tests(metafunc):
    """Give tests of a class with ``sets`` their ``params``, and every test that wants it all ``stalls``."""
    sets = getattr(metafunc.cls, "sets", None)
    if "params" in metafunc.fixturenames and sets is not None:
        names = ["-".join(str(value) for value in vars(params).values() if isinstance(value, int)) for params in sets]
        metafunc.parametrize("params", sets, ids=names)
    if "stalls" in metafunc.fixturenames:
        metafunc.parametrize("stalls", STALLS)
