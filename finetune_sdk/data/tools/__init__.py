"""What is done with datasets: checked, converted, split, sampled, deduplicated, merged, repaired, searched."""
