"""Live cameras: watching them, their alerts, and normal footage of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mulde.commands.ending import echo, finish
from mulde.commands.options import Device, FalseAlarms, Json, Quiet, new_reporter, path
from mulde.errors import UsageError

if TYPE_CHECKING:
    from mulde.pipeline.live.service_settings import ServiceSettings

PASSWORD = "MULDE_CAMERA_PASSWORD"

Cameras = Annotated[
    str | None,
    typer.Argument(
        metavar="[SOURCE]",
        help="A TOML file with cameras (see --settings), the address of one camera, or, with --as-live, a video file.",
    ),
]
Model = Annotated[
    Path | None,
    typer.Option("--model", "-m", parser=path, help="Model of one camera; in a file, each camera names its own."),
]
Out = Annotated[
    Path | None,
    typer.Option(parser=path, help="Run folder to write, and to continue. [default: as the file says, or runs/watch]"),
]
User = Annotated[
    str, typer.Option(help=f"User name for one camera. Its password is asked for, or read from {PASSWORD}.")
]


TokenFile = Annotated[
    Path | None,
    typer.Option(
        parser=path,
        help="File with the token that lets people in; needed where --listen is no loopback address.",
        show_default=False,
    ),
]


def watch(
    source: Cameras = None,
    model: Model = None,
    out: Out = None,
    user: User = "",
    false_alarms_per_hour: FalseAlarms = None,
    max_delay_s: Annotated[
        float | None,
        typer.Option(
            min=0, help="Longest time by which the features of one camera's model may look ahead. [default: 2]"
        ),
    ] = None,
    as_live: Annotated[
        bool, typer.Option("--as-live", help="Play a video file as if it were a camera; every frame is scored.")
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(min=0, help="With --as-live: how fast; 0 as fast as it can be scored.", show_default=False),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="With --as-live: begin again at the end.")] = False,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where one camera's page is; a file says it in [service]. [default: 127.0.0.1:8765]",
            show_default=False,
        ),
    ] = None,
    token_file: TokenFile = None,
    no_service: Annotated[bool, typer.Option("--no-service", help="Serve no page.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Connect to each camera once, say what it sends, and stop.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Say whether a process watches into --out and is well: exit code 0 or 1.")
    ] = False,
    test_sinks: Annotated[
        bool,
        typer.Option(
            "--test-sinks", help="Send one test alert to each sink of the file, say what became of it, and stop."
        ),
    ] = False,
    settings: Annotated[
        bool, typer.Option("--settings", help="Print an example of a file of cameras, with every setting, and stop.")
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Watch live cameras and raise alerts.

    Scores are causal, and equal those of a recording. Alerts, scores, pictures and clips go to a run folder, which
    every command reads. Ctrl-C or SIGTERM ends it, SIGHUP reads the file of cameras again. Passwords never stand in an
    address.
    """
    from mulde.pipeline.live import watch as live
    from mulde.service.run import beside_watch

    if settings:
        from mulde.pipeline.live.settings import example

        for line in example().splitlines():
            echo(line)
        return
    if check:
        is_well, text = live.check_health(out or live.folder_of(source or ""))
        echo(text)
        raise typer.Exit(0 if is_well else 1)
    if source is None:
        raise UsageError("mulde watch", expected="a file of cameras, or an address", hint="mulde watch --settings")
    only_live = {"--speed": speed is not None, "--loop": loop}
    for option, given in only_live.items():
        if given and not as_live:
            raise UsageError(f"{option} has no effect without --as-live", hint=f"leave {option} out, or add --as-live")
    if user and as_live:
        raise UsageError("--user has no effect with --as-live", hint="leave it out")
    reporter = new_reporter(quiet)
    is_file = source.endswith(".toml") and not as_live
    if test_sinks:
        raise typer.Exit(_test_sinks(source, is_file))
    only_one = {
        "--model": model is not None,
        "--user": bool(user),
        "--false-alarms-per-hour": false_alarms_per_hour is not None,
        "--max-delay-s": max_delay_s is not None,
        "--listen": listen is not None,
        "--token-file": token_file is not None,
    }
    for option, given in only_one.items():
        if given and is_file:
            raise UsageError(f"{option} has no effect on a file of cameras", hint="set it in the file")
    if is_file:
        watching = live.Cameras.of_file(path(source), device, reporter)
    else:
        if model is None:
            raise UsageError("mulde watch of one camera", expected="its --model", got="none")
        delay_s = 2.0 if max_delay_s is None else max_delay_s
        of_one = live.OneCamera(source, model, false_alarms_per_hour or 0.0, delay_s)
        if as_live:
            watching = live.Cameras.of_video(of_one, 1.0 if speed is None else speed, loop, device, reporter)
        else:
            watching = live.Cameras.of_address(of_one, user, _password(user), device, reporter)
    if dry_run:
        from mulde.pipeline.live.dry_run import look

        all_well = True
        for line, is_well in look(watching.specs()):
            all_well &= is_well
            echo(line)
        raise typer.Exit(0 if all_well else 1)
    # An address may carry a token: what is on record has it as messages show it.
    command = [watching.source if word == source and not (is_file or as_live) else word for word in sys.argv[1:]]
    settings_, asked = _service(watching.service, listen, token_file, no_service)
    service = beside_watch(settings_, reporter, asked=asked)
    finish(live.run_watch_cameras(watching, out, reporter, command=command, service=service), reporter)


def _service(
    of_file: ServiceSettings, listen: str | None, token_file: Path | None, is_off: bool
) -> tuple[ServiceSettings, bool]:
    """Where the page is, and whether somebody chose that."""
    if is_off and (listen is not None or token_file is not None):
        raise UsageError("--no-service", expected="neither --listen nor --token-file with it", hint="leave it out")
    changes = {"listen": "" if is_off else listen, "token_file": None if token_file is None else str(token_file)}
    settings = of_file.model_copy(update={name: value for name, value in changes.items() if value is not None})
    return settings, listen is not None or "listen" in of_file.model_fields_set


def serve(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", parser=path, help="Run folder of `mulde score`, `mulde run` or `mulde watch`."),
    ],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the page is.")] = "127.0.0.1:8765",
    token_file: TokenFile = None,
    quiet: Quiet = False,
) -> None:
    """Serve the page of a run, for several to review.

    It shows events or alerts, scores and cameras. Labels are kept in the run folder, and events that are normal become
    suppressions, as with `mulde feedback`. `mulde watch` serves the page of its cameras by itself.
    """
    from mulde.pipeline.live.service_settings import ServiceSettings
    from mulde.service.run import run_serve

    settings = ServiceSettings(listen=listen, token_file="" if token_file is None else str(token_file))
    run_serve(run, settings, new_reporter(quiet))


def _test_sinks(source: str, is_file: bool) -> int:
    from mulde.pipeline.live.delivery import send_test
    from mulde.pipeline.live.watch import sinks_of_file

    specs = sinks_of_file(path(source)) if is_file else ()
    if not specs:
        raise UsageError(f"--test-sinks of {source}", expected="a file with [[sinks]]", got="none")
    all_well = True
    for line, is_well in send_test(specs):
        all_well &= is_well
        echo(line)
    return 0 if all_well else 1


def _password(user: str) -> str:
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    if not user:
        return ""
    if not sys.stdin.isatty():
        raise UsageError("the password of the camera", expected=f"the environment variable {PASSWORD}", got="none")
    return str(typer.prompt("Password of the camera", hide_input=True))


def alerts(
    run: Annotated[Path, typer.Argument(metavar="[RUN]", parser=path, help="Run folder of `mulde watch`.")] = Path(
        "runs/watch"
    ),
    since: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Only those of the last 24h, 30m or 7d.", show_default=False),
    ] = None,
    camera: Annotated[str | None, typer.Option(help="Only those of this camera.", show_default=False)] = None,
    undelivered: Annotated[
        bool, typer.Option("--undelivered", help="Deliveries that wait or were given up, instead of alerts.")
    ] = False,
    json_: Json = False,
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Print the JSON schema of an alert, and stop.")
    ] = False,
) -> None:
    """List the alerts of watched cameras.

    Also while they are being watched.
    """
    from mulde.commands.console.live import print_alerts, print_deliveries, print_schema
    from mulde.pipeline.live.ledger import AlertLedger
    from mulde.pipeline.live.listing import milliseconds_ago

    if json_schema:
        return print_schema()
    since_ms = 0 if since is None else milliseconds_ago(since)
    with AlertLedger.read(run) as ledger:
        if undelivered:
            print_deliveries(ledger.undelivered(), ledger.outbox_counts(), json_=json_)
        else:
            print_alerts(ledger.alerts(since_ms, camera), json_=json_)


def collect(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A TOML file with cameras (`mulde watch --settings`), or an address."),
    ],
    out: Annotated[
        Path, typer.Option(parser=path, help="Folder to write; each camera has a folder of its own there.")
    ] = Path("normal"),
    hours: Annotated[float, typer.Option(min=0.001, help="How long to record, in hours.")] = 24.0,
    share: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of each hour that is recorded, in slices over the hour.")
    ] = 0.2,
    user: User = "",
    quiet: Quiet = False,
) -> None:
    """Record normal footage of cameras, for training.

    Nothing is encoded again. `mulde train FOLDER/CAMERA` learns from it.
    """
    from mulde.pipeline.live.collect import run_collect
    from mulde.pipeline.live.watch import sources_of

    reporter = new_reporter(quiet)
    password = "" if source.endswith(".toml") else _password(user)
    finish(run_collect(sources_of(source, user, password), out, hours, share, reporter), reporter)
