"""For authors of providers: `conformance.ProviderConformance`, the promises as a test class, and `fake.FakeProvider`.

Only this package imports pytest. How to use it: docs/writing-a-provider.md.
"""

import sys

if "pytest" in sys.modules:  # show both sides of a failed assertion, as in a test file; the fake alone needs no pytest
    sys.modules["pytest"].register_assert_rewrite(
        f"{__name__}._promises_plan",
        f"{__name__}._promises_run",
        f"{__name__}._promises_verbs",
        f"{__name__}._watch",
        f"{__name__}.conformance",
    )
