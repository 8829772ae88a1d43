"""Files of public data sets on the Hugging Face hub, downloaded once into its own cache (extra `hub`)."""

from pathlib import Path

from rrm.errors import UserError, first_line


def fetch(repository: str, name: str) -> Path:
    """The local copy of a file of a data set.

    Raises:
        UserError: huggingface_hub is not installed, or the file cannot be downloaded.
    """
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise UserError(f"{repository}/{name}", "needs the hub's client: pip install 'rrm-sweeps[hub]'") from None
    try:
        return Path(hf_hub_download(repository, name, repo_type="dataset"))
    except (OSError, ValueError) as error:  # the errors of huggingface_hub derive from these
        raise UserError(f"{repository}/{name}", f"cannot be downloaded from the hub: {first_line(error)}") from None
