"""How properties are tested with Hypothesis."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

without_a_clock = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy with other tests."""

any_text = st.text(st.characters())
"""With lone surrogates, which `st.text()` leaves out."""
