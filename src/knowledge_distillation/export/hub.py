"""Push an export to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from knowledge_distillation.errors import ExportError, MissingExtraError
from knowledge_distillation.export.exported import check_files, read


def push(directory: str | Path, repo_id: str, *, token: str | None = None, private: bool = True) -> str:
    """Upload the artefact, its manifest and its model card.

    Args:
        directory: an export; its files must be those that were proven.
        repo_id: "name/of-the-model"; made if it is not there.
        token: of the hub; None for the one that `hf auth login` or HF_TOKEN gave. It is neither written nor shown.
        private: whether a new repository is only yours.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: if the directory holds no export.
        ExportError: if a file was changed after the proof, or the hub refuses.
        MissingExtraError: if the extra "hub" is not installed.
    """
    export = read(directory)
    check_files(export.path, export.manifest)
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtraError(
            "Pushing needs huggingface_hub: pip install 'knowledge-distillation-toolkit[hub]'"
        ) from error
    try:
        api = HfApi(token=token)
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            folder_path=str(export.path),
            repo_id=repo_id,
            commit_message=f"A distilled student as {export.manifest['form']}",
        )
    except Exception as error:
        reason = str(error).replace(token, "***") if token else str(error)
        raise ExportError(f"The hub did not take {export.path} as {repo_id}: {reason}") from None
    return str(address)
