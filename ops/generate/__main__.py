import os
import sys

from ops.generate.cli import main
from ops.launch import THREADS

if __name__ == "__main__":
    for variable, value in THREADS.items():  # read when torch is loaded
        os.environ.setdefault(variable, value)
    sys.exit(main())
