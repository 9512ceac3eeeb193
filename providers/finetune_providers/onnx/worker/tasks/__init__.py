"""What the children do, one file per task: `run(child, orders)` answers what the conductor goes on with.

Each file imports the libraries of its own task only: measuring needs no torch, so that what it measures is the package.
"""
