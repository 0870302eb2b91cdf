"""Push an export to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from knowledge_distillation.errors import ExportError, MissingExtraError
from knowledge_distillation.export.exported import check_files, read
from knowledge_distillation.training.keys import remember, without_keys


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
    if token:
        remember(token)
    try:
        api = HfApi(token=token)
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            folder_path=str(export.path),
            repo_id=repo_id,
            commit_message=f"A distilled student as {export.manifest['form']}",
        )
        return str(address)
    except Exception as error:
        refusal = ExportError(f"The hub did not take {export.path} as {repo_id}: {without_keys(str(error))}")
    raise refusal  # out of the handler, so that what the hub said is no context of it
