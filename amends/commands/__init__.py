"""Groups of commands. What they need is imported when they run: `amends --help` stays quick."""
