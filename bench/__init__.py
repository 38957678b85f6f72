"""What Amends costs and carries, measured beside its peers in one run (docs/performance.md)."""
