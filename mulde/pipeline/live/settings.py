"""The file of `mulde watch`: which cameras, with which models, and what is kept of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from mulde.errors import UsageError
from mulde.names import user_path
from mulde.pipeline.live.alerts import CameraName
from mulde.pipeline.live.drift import DAYS_BETWEEN
from mulde.pipeline.live.retention import Keep
from mulde.pipeline.live.service_settings import ServiceSettings
from mulde.secret import read_secret
from mulde.section import PathText, Section, Text
from mulde.settings_file import dump_toml, read_toml, usage_error
from mulde.sinks.opening import SinkSpec, spec_of
from mulde.sinks.settings import (
    AppriseSettings,
    CommandSettings,
    MqttSettings,
    SinkSettings,
    WebhookSettings,
    check_sinks,
    refuse_secrets,
)

_HINT = "run `mulde watch --settings` to list every setting with its default and bounds"


class CameraSettings(Section):
    url: Text = Field(
        min_length=1,
        description="address of the stream, as rtsp://10.0.0.5/stream2, http://..., or /dev/video0; without a password",
    )
    user: Text = Field("", description="user name for the camera")
    password_env: Text = Field("", description="environment variable that holds the password")
    password_file: PathText = Field("", description="file that holds the password")
    model: PathText = Field("", description="model of this camera; empty = that of [defaults]")
    suppressions: PathText = Field("", description="exemptions.json of `mulde feedback`; empty = none")
    false_alarms_per_hour: float = Field(
        0.0, ge=0, le=100_000, description="target number of false alarms per hour; 0 = that of [defaults]"
    )
    options: dict[Text, Text] = Field({}, description="options of libav, as rtsp_transport")


class DefaultSettings(Section):
    model: PathText = Field("", description="model of the cameras that name none")
    false_alarms_per_hour: float = Field(
        0.0,
        ge=0,
        le=100_000,
        description="target number of false alarms per hour and camera; 0 = one, or the lowest number that the normal "
        "video of the model supports",
    )
    max_delay_s: float = Field(
        2.0, ge=0, le=600, description="longest time by which a model's features may look ahead; others are refused"
    )
    drift_days: float = Field(
        DAYS_BETWEEN,
        ge=0,
        le=36_500,
        description="days wanted between two false notices of drift, per camera; 0 = drift is not tested",
    )
    pre_roll_s: float = Field(5.0, ge=0, le=120, description="seconds of video before an alert in its clip")
    post_roll_s: float = Field(5.0, ge=0, le=120, description="seconds of video behind an alert in its clip")
    mute_when_moved: bool = Field(
        True, description="tell nobody of what is unusual while a camera has moved; it stays on record, marked"
    )


class WatchSettings(Section):
    """What `mulde watch FILE` reads. Paths in it are relative to the file."""

    out: PathText = Field("runs/watch", description="run folder to write, and to continue")
    defaults: DefaultSettings = Field(DefaultSettings(), description="what holds for every camera")
    keep: Keep = Field(Keep(), description="what is deleted when")
    service: ServiceSettings = Field(ServiceSettings(), description="where the page is, and who is let in")
    cameras: dict[CameraName, CameraSettings] = Field({}, description="the cameras, each by its name")
    sinks: tuple[SinkSettings, ...] = Field((), description="where alerts are sent")


def read_watch_settings(path: Path) -> WatchSettings:
    """The settings of a file. Raises UsageError, by name, for what cannot be used, and for a file without cameras."""
    data = read_toml(path)
    refuse_secrets(data.get("sinks"))
    try:
        settings = WatchSettings.model_validate(data)
    except ValidationError as error:
        # What was written for a sink may be secret, whatever key it stands under.
        raise usage_error(error, _HINT, hides="sinks") from None
    check_sinks(settings.sinks)
    if not settings.cameras:
        raise UsageError(
            f"cameras in {path}", expected="a table [cameras.NAME] for each camera", got="none", hint=_HINT
        )
    folded: dict[str, str] = {}
    for name in settings.cameras:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise UsageError("names of cameras", expected="names that differ in more than case", got=f"{other}, {name}")
    return _relative_to(settings, path.absolute().parent)


def _relative_to(settings: WatchSettings, folder: Path) -> WatchSettings:
    """The same with every path taken from the folder of the file."""
    data = settings.model_dump()
    for table, keys in [
        (data, ("out",)),
        (data["defaults"], ("model",)),
        *((camera, ("password_file", "model", "suppressions")) for camera in data["cameras"].values()),
    ]:
        for key in keys:
            if table[key]:
                table[key] = str(folder / user_path(table[key]))
    for sink in data["sinks"]:
        for key in [key for key, value in sink.items() if key.endswith("_file") and value]:
            sink[key] = str(folder / user_path(sink[key]))
        if "/" in (sink.get("command") or ("",))[0]:  # else it is looked for where programs are
            sink["command"] = (str(folder / user_path(sink["command"][0])), *sink["command"][1:])
    service = settings.service  # as it is: which of it somebody chose matters
    if service.token_file:
        service = service.model_copy(update={"token_file": str(folder / user_path(service.token_file))})
    return WatchSettings.model_validate(data).model_copy(update={"service": service})


def password_of(name: str, camera: CameraSettings, environment: Mapping[str, str] = os.environ) -> str:
    """The password of a camera, empty where it needs none. Raises UsageError where it cannot be had."""
    return read_secret(f"camera {name}", "password", camera.password_env, camera.password_file, environment) or ""


def sinks_of(settings: WatchSettings) -> tuple[SinkSpec, ...]:
    """The sinks with what is secret of them. Raises UsageError where that cannot be had."""
    return tuple(map(spec_of, settings.sinks))


def example() -> str:
    """A file of one camera as TOML, with every setting under its meaning and bounds."""
    shown = CameraSettings(url="rtsp://10.0.0.5/stream2", user="viewer", password_env="YARD_PASSWORD")
    defaults = DefaultSettings(model="runs/yard/model.safetensors")
    sinks = (
        MqttSettings(home_assistant=True),
        WebhookSettings(url_env="HOOK", secret_env="HOOK_SECRET"),
        AppriseSettings(urls_env="APPRISE", at_most_per_hour=6),
        CommandSettings(command=("/usr/local/bin/alert",)),
    )
    return dump_toml(WatchSettings(defaults=defaults, cameras={"yard": shown}, sinks=sinks))
