"""AliExpress: disputes over the IOP Open Platform. README.md has the links, the set-up and what is not established."""
