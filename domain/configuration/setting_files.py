"""Settings from files: any setting `X` may be given as the name of a file, `X_FILE`, or lie in a folder of secrets.

The conventions are Docker's: https://docs.docker.com/compose/how-tos/use-secrets/. A setting that is given twice is
refused: which of the two would hold is nothing that anybody should have to know.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

SECRETS_FOLDER = Path("/run/secrets")
SUFFIX = "_FILE"


class FilesSource(PydanticBaseSettingsSource):
    """`given` are the variables of the environment and of `.env` by their names in lower case.

    Raises ValueError for a file that cannot be read and for a setting that is given twice.
    """

    def __init__(self, settings: type[BaseSettings], *, given: Mapping[str, str | None], folder: Path) -> None:
        super().__init__(settings)
        self._given = given
        self._folder = folder
        self._variables = {self._variable(field, name) for name, field in settings.model_fields.items()}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """What the file says, by the name that the model looks for."""
        alias = field.validation_alias
        return self._read(self._variable(field, field_name)), alias if isinstance(alias, str) else field_name, False

    def __call__(self) -> dict[str, Any]:
        found = [self.get_field_value(field, name) for name, field in self.settings_cls.model_fields.items()]
        return {key: value for value, key, _ in found if value is not None}

    def _variable(self, field: FieldInfo, name: str) -> str:
        alias = field.validation_alias
        return alias if isinstance(alias, str) else f"{self.config.get('env_prefix', '')}{name}".upper()

    def _read(self, variable: str) -> str | None:
        places = self._places(variable)
        if not places:
            return None
        body = [*([variable] if self._given.get(variable.lower()) else []), *places]
        if len(body) > 1:
            raise ValueError(f"{' and '.join(body)} are both given: leave out one of them")
        (path,) = places.values()
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{body[0]} cannot be read: {error}") from None

    def _places(self, variable: str) -> dict[str, Path]:
        """The files that hold this setting, by what to call each."""
        places = {}
        by_name = f"{variable}{SUFFIX}"
        # BOTFARM_SECRET_KEYS_FILE is a setting of its own, which whoever opens the ring reads.
        if by_name not in self._variables and (named := self._given.get(by_name.lower())):
            places[by_name] = Path(named)
        secret = self._folder / variable.lower()
        if secret.is_file():
            places[str(secret)] = secret
        return places
