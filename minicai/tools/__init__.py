"""The commands of `minicai COMMAND`."""
