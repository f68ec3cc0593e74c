"""All that we can be told from outside: one frozen value, read once from the environment. The only file that reads it.

Each field is the variable of the same name in capitals: `data_dir` is DATA_DIR.
"""

from decimal import Decimal
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from edgewise.errors import SettingsError

Auto = Literal["auto"]


class Settings(BaseSettings):
    """Our settings; README.md lists them with their meaning."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    # Addresses may hold a password: they are not shown either.
    label_studio_host: str = Field(default="http://localhost:8080", repr=False)
    label_studio_api_key: SecretStr = SecretStr("")
    baseline_model_name: str = "dslim/bert-base-NER"
    finetuned_model_name: str = Field(default="finetuned_model", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    start_training_each_n_updates: int = Field(default=10, ge=1)
    learning_rate: Annotated[float, Field(gt=0)] | Auto = 2e-5
    num_train_epochs: Annotated[float, Field(gt=0)] | Auto = 3
    weight_decay: float = Field(default=0.01, ge=0)
    fine_tuning_strategy: str = Field(default="auto", pattern=r"^(auto|full|features|freeze:[0-9]{1,3})$")
    training_minutes: Annotated[float, Field(gt=0)] | None = None
    max_sequence_length: int = Field(default=128, ge=16)
    uncertainty_threshold: float = Field(default=0.8, ge=0, le=1)
    samples_per_iteration: int = Field(default=500, ge=1)
    mlflow_tracking_uri: str = Field(default="sqlite:///mlruns.db", repr=False)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    data_dir: Path = Path("data")
    model_dir_setting: Path | None = Field(default=None, validation_alias="MODEL_DIR")
    redis_url: SecretStr | None = None
    database_url_setting: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    basic_auth_user: str = ""
    basic_auth_pass: SecretStr = SecretStr("")
    allow_anonymous: bool = False
    calls_per_minute: int = Field(default=1200, ge=1)
    host: str = "127.0.0.1"
    port: int = Field(default=9090, ge=0, le=65535)
    workers: int = Field(default=1, ge=1)
    threads: int = Field(default=8, ge=1)
    model_cache_mb: int = Field(default=512, ge=1)
    audit_fraction: float = Field(default=0.1, gt=0, lt=0.5)
    audit_prelabel: bool = False
    llm_provider: Literal["openai", "anthropic"] | None = None
    llm_model: str = ""
    llm_base_url: str | None = Field(default=None, repr=False)
    llm_api_key: SecretStr = SecretStr("")
    llm_budget_usd: Annotated[Decimal, Field(ge=0)] | None = None
    llm_budget_calls: Annotated[int, Field(ge=0)] | None = None
    llm_price_input_usd: Annotated[Decimal, Field(ge=0)] | None = None
    llm_price_output_usd: Annotated[Decimal, Field(ge=0)] | None = None
    llm_demonstrations: int = Field(default=8, ge=0, le=64)
    llm_codec: Literal["json", "tags"] = "json"
    llm_variants: int = Field(default=1, ge=1, le=9)
    private: bool = False
    allowed_hosts_setting: str = Field(default="", validation_alias="ALLOWED_HOSTS")
    sync_interval_s: float = Field(default=30, gt=0)
    seed: int = 0

    @field_validator("basic_auth_user", "basic_auth_pass")
    @classmethod
    def _plain(cls, value: str | SecretStr) -> str | SecretStr:
        """Label Studio sends credentials as latin-1 and others as UTF-8: only in ASCII do they agree."""
        text = value if isinstance(value, str) else value.get_secret_value()
        if not text.isascii():
            raise ValueError("only ASCII characters arrive unchanged from Label Studio")
        return value

    @field_validator("label_studio_host")
    @classmethod
    def _without_login(cls, value: str) -> str:
        """It is shown in links and kept with projects; and Label Studio knows us by our token alone."""
        if "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError("the address holds a login, where LABEL_STUDIO_API_KEY is what lets us in")
        return value

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        """A name without a password would let everybody in who knows the name."""
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass.get_secret_value()):
            raise ValueError("BASIC_AUTH_USER and BASIC_AUTH_PASS belong together, and one of them is empty")
        if ":" in self.basic_auth_user:
            raise ValueError("BASIC_AUTH_USER has a colon, where HTTP's credentials would be cut in two")
        return self

    @model_validator(mode="after")
    def _whole_price(self) -> Self:
        """With one of them alone the cost is unknown, and a budget in dollars holds nothing."""
        if (self.llm_price_input_usd is None) != (self.llm_price_output_usd is None):
            raise ValueError("LLM_PRICE_INPUT_USD and LLM_PRICE_OUTPUT_USD belong together, and one of them is empty")
        return self

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """ALLOWED_HOSTS, separated by commas."""
        return tuple(host.strip() for host in self.allowed_hosts_setting.split(",") if host.strip())

    @property
    def model_dir(self) -> Path:
        """Where weights are: MODEL_DIR, else a folder in DATA_DIR."""
        return (self.model_dir_setting or self.data_dir / "models").resolve()

    @cached_property
    def database_url(self) -> SecretStr:
        """DATABASE_URL, else SQLite in DATA_DIR. Secret, as it may hold a password."""
        return self.database_url_setting or SecretStr(f"sqlite:///{self.data_dir.resolve() / 'edgewise.db'}")


def is_loopback(host: str) -> bool:
    """Whether only this machine is meant: localhost, or an address that never leaves it."""
    if host.casefold() == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def read_settings() -> Settings:
    """The settings of this process. Raises SettingsError: which variable is wrong and how, never its value."""
    try:
        return Settings()
    except ValidationError as error:
        faults = "; ".join(": ".join(filter(None, (_named(e["loc"]), e["msg"]))) for e in error.errors())
        raise SettingsError(
            f"The environment has settings that we cannot use. {faults}.", "Correct or unset them."
        ) from None


def _named(place: tuple[int | str, ...]) -> str:
    """The variable that a fault is about; nothing for one that is about several."""
    return ".".join(map(str, place)).upper()
