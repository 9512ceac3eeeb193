"""For authors of providers: `conformance.ProviderConformance`, the promises as a test class, and `fake.FakeProvider`.

Only this package imports pytest. How to use it: docs/writing-a-provider.md.
"""
