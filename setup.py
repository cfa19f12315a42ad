"""What pyproject.toml cannot say: an installed mdm_lab brings the book's committed results."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithResults(build_py):
    """Copies book/results into the package, where `mdm_lab.experiments` looks for them."""

    def run(self):
        """Build as always, then add the results."""
        super().run()
        source = Path(__file__).parent / "book" / "results"
        for kind in ("*.json", "*/*.json", "*/*.safetensors"):
            for result in source.glob(kind):
                target = Path(self.build_lib) / "mdm_lab" / "results" / result.relative_to(source)
                self.mkpath(str(target.parent))
                self.copy_file(str(result), str(target))


setup(cmdclass={"build_py": BuildWithResults})
