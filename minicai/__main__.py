"""`python -m minicai COMMAND`."""
from minicai.tools import main

main()
