"""The command line: list, run, show, simulate, report, schema, doctor. Nothing heavy is imported before a sim runs."""

import ast
import dataclasses
import importlib
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from wirelesslab import __version__, check

SIMS = "wirelesslab_sims"
TROUBLE = (
    ValueError,
    TypeError,
    OSError,
    MemoryError,
    RuntimeError,
)  # what teaches; bugs show with --traceback


def sim_files() -> dict[str, Path]:
    """Return the sims that are installed, by name; their modules are not imported."""
    spec = find_spec(SIMS)
    if spec is None or not spec.submodule_search_locations:
        return {}
    folder = Path(next(iter(spec.submodule_search_locations)))
    return {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}


def question(path: Path) -> str:
    """Return the first line of a sim's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def load_sim(name: str) -> Any:
    """Return the sim's module.

    Raises:
        click.UsageError: There is no such sim; the message has the nearest name.
    """
    known = sim_files()
    if name not in known:
        found = check.nearest(name, known)
        msg = f"sim: got {name!r}, expected one of {', '.join(known) or '(none is installed)'}{found}"
        raise click.UsageError(msg)
    return importlib.import_module(f"{SIMS}.{name}")


def help_texts(config: type[Any]) -> dict[str, str]:
    """Return the help of each field, from the Attributes section of the class's docstring."""
    section = (config.__doc__ or "").partition("Attributes:")[2]
    found = re.findall(r"^ {4,8}(\w+): (.*(?:\n {9,}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the summary that a sim wrote into `folder`.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged, or nothing that a sim wrote.
    """
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"folder: {path} is damaged ({error}); run the sim again, its journal is kept"
        raise ValueError(msg) from error
    lacking = {"sim", "table", "seed", "command", "figures"} - (summary.keys() if isinstance(summary, dict) else set())
    if lacking:
        msg = f"folder: {path} is not of a sim (it lacks {', '.join(sorted(lacking))}); choose another folder"
        raise ValueError(msg)
    return dict(summary)


class CommaList(click.ParamType):  # type: ignore[type-arg]
    """Values of one kind, separated by commas."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind, self.name = kind, f"{kind.__name__},…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the values as a tuple."""
        if isinstance(value, tuple):
            return value
        try:
            values = tuple(self.kind(part.strip()) for part in str(value).split(",") if part.strip())
        except ValueError:
            values = ()
        if not values:
            what = "names" if self.kind is str else "numbers"
            self.fail(f"got {value!r}, expected {what} separated by commas, such as 0,5,10", param, ctx)
        return values


def option(field: dataclasses.Field[Any], kind: Any, text: str) -> click.Option:
    """Return the flag of one field of a config."""
    flag = "--" + field.name.replace("_", "-")
    default = field.default
    shown = (
        ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in default) if isinstance(default, tuple) else None
    )
    common: dict[str, Any] = {"default": default, "show_default": shown or True, "help": text}
    if kind is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}"], **common)
    if typing.get_origin(kind) is tuple:
        return click.Option([flag], type=CommaList(typing.get_args(kind)[0]), **common)
    if typing.get_origin(kind) is typing.Literal:
        return click.Option([flag], type=click.Choice(typing.get_args(kind)), **common)
    return click.Option([flag], type=kind, **common)


RUN_OPTIONS: tuple[Callable[[], click.Option], ...] = (
    lambda: click.Option(
        ["--seed"], type=click.IntRange(min=0), default=1, show_default=True, help="Seed of all randomness."
    ),
    lambda: click.Option(
        ["--workers"], type=click.IntRange(min=1), help="Processes on this machine.  [default: one per core]"
    ),
    lambda: click.Option(["--scheduler"], metavar="ADDRESS", help="Work on the Dask cluster at this address instead."),
    lambda: click.Option(
        ["--out"],
        type=click.Path(path_type=Path),
        help="Folder of result and journal.  [default: results/SIM]",
    ),
    lambda: click.Option(["--quick"], is_flag=True, help="A small run that shows the way; its figures mean little."),
    lambda: click.Option(["--fail-fast"], is_flag=True, help="Stop at the first grid point that fails."),
)


def sim_command(name: str) -> click.Command:
    """Return the command of a sim: its config's fields as flags."""
    sim = load_sim(name)
    kinds, texts = typing.get_type_hints(sim.Config), help_texts(sim.Config)
    fields = dataclasses.fields(sim.Config)

    @click.pass_context
    def callback(ctx: click.Context, /, **values: Any) -> None:
        from wirelesslab.session import Session, run_sim

        given = {f.name: values.pop(f.name) for f in fields}
        if values["quick"]:
            default = click.core.ParameterSource.DEFAULT
            given |= {k: v for k, v in sim.QUICK.items() if ctx.get_parameter_source(k) is default}
        out = values.pop("out") or Path("results") / (f"{name}-quick" if values["quick"] else name)
        session = Session(out=out, **values)
        report = run_sim(sim, name, sim.Config(**given), session)
        click.echo(f"\n{report.table}\n")
        for path in report.figures:
            click.echo(f"figure   {path}")
        click.echo(f"result   {out / 'result.nc'}, {out / 'summary.json'}")
        if report.failures:
            for failure in report.failures:
                click.echo(f"FAILED   {failure['point']}, batch {failure['batch']}: {failure['error']}", err=True)
            ctx.exit(1)

    parameters = [option(f, kinds[f.name], texts.get(f.name, "")) for f in fields]
    return click.Command(
        name,
        params=[*parameters, *(make() for make in RUN_OPTIONS)],
        callback=callback,
        help=(sim.__doc__ or "").replace("\n\n", "\n\n\b\n"),
        context_settings={"max_content_width": 100},
    )


class SimGroup(click.Group):
    """`run`: one command per sim, built when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the sims."""
        return list(sim_files())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Return the sim's command."""
        return sim_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sims with their questions, without importing them."""
        with formatter.section("Sims"):
            formatter.write_dl([(name, question(path)) for name, path in sim_files().items()])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wirelesslab")
@click.option("--traceback", is_flag=True, help="Show where an error came from.")
@click.pass_context
def cli(ctx: click.Context, traceback: bool) -> None:
    """Simulate, measure and learn on wireless networks."""
    ctx.obj = {"traceback": traceback}


@cli.command("list")
def list_command() -> None:
    """List the sims and the questions they answer."""
    found = sim_files()
    if not found:
        msg = f"no sims: the package {SIMS} is not installed; pip install wirelesslab"
        raise click.ClickException(msg)
    width = max(map(len, found))
    for name, path in found.items():
        click.echo(f"{name.ljust(width)}  {question(path)}")


@cli.group("run", cls=SimGroup, subcommand_metavar="SIM [FLAGS]…")
def run_group() -> None:
    """Run a sim: its flags are the fields of its Config."""


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--redraw", is_flag=True, help="Draw the figures again from result.nc.")
def show(folder: Path, redraw: bool) -> None:
    """Show the table and the figures of a run again, or how far an unfinished one has come."""
    folder = folder.parent if folder.is_file() else folder
    if (folder / "summary.json").exists():
        summary = read_summary(folder)
        click.echo(f"{summary['table']}\n")
        made = f"seed {summary['seed']}, {summary.get('wall_seconds', '?')} s, {summary.get('created', '?')}"
        click.echo(f"made by  {summary['command']}  ({made})")
        figures = [folder / figure for figure in summary["figures"]]
        if redraw or not all(path.exists() for path in figures):
            from wirelesslab.results import load
            from wirelesslab.session import save_figures

            figures = save_figures(load_sim(summary["sim"]).draw(load(folder)), folder)
        for path in figures:
            click.echo(f"figure   {path}")
        return
    if (folder / "manifest.json").exists():
        msg = f"folder: {folder} holds a run of simulate; write its page with `wirelesslab report {folder}`"
        raise click.ClickException(msg)
    journals = [*folder.glob("journal.jsonl"), *folder.glob("*/journal.jsonl")]
    if journals:
        from wirelesslab import replicas, study
        from wirelesslab.journal import read

        for journal in journals:
            of_replicas = "experiment" in (read(journal)[0] or {})
            click.echo((replicas if of_replicas else study).progress_of(journal.parent))
        return
    checkpoints = sorted(path.name for path in folder.glob("checkpoint*.npz"))
    if checkpoints:
        click.echo(
            f"{folder}: a training is on its way ({', '.join(checkpoints)}); the same command goes on from there"
        )
        return
    known = sorted(str(path.parent) for path in Path("results").glob("*/summary.json"))
    hint = (
        f"; there is {', '.join(known)}"
        if known
        else "; run a sim first, such as `wirelesslab run ser_vs_snr_and_devices`"
    )
    msg = f"folder: no result in {str(folder)!r}{hint}"
    raise click.ClickException(msg)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of tables, records and manifest.")
@click.option("--trace", is_flag=True, help="Write trace.json there too, for ui.perfetto.dev.")
@click.option("--report", is_flag=True, help="Write report.html there too, for any browser.")
@click.pass_context
def simulate(ctx: click.Context, file: Path, out: Path | None, trace: bool, report: bool) -> None:
    """Simulate the network of a YAML file, such as docs/scenarios/three_slices.yaml.

    Stopped by Ctrl+C, it keeps what it has computed.
    """
    for name, wanted in (("trace", trace), ("report", report)):
        if wanted and out is None:
            msg = f"{name}: got --{name} without a folder to write it to; add --out FOLDER"
            raise click.UsageError(msg)
    from wirelesslab.network.scenario import NetworkScenario
    from wirelesslab.network.service_report import service_table
    from wirelesslab.progress import simulated_time

    scenario = NetworkScenario.load(file)
    try:
        with simulated_time() as watch:
            run = scenario.run(out, trace=trace, report=report, watch=watch)
    except KeyboardInterrupt:
        kept = (
            "nothing was kept; with --out FOLDER it is" if out is None else f"{out} holds what was computed until then"
        )
        click.echo(f"\nstopped; {kept}", err=True)
        ctx.exit(130)
    click.echo(f"\n{service_table(run, scenario.slices)}\n")
    if out is not None:
        for path in sorted(path for path in out.iterdir() if path.name in scenario.files):
            click.echo(f"written  {path}")


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The page.  [default: FOLDER/report.html]")
def report(folder: Path, out: Path | None) -> None:
    """Write the report of a run that `simulate --out FOLDER` saved, or began to save, as one HTML page."""
    from wirelesslab.network.run import Run

    run = Run.load(folder)
    for trouble in run.manifest["troubles"]:
        click.echo(f"missing  {trouble}", err=True)
    click.echo(f"written  {run.report(out or folder / 'report.html')}")


@cli.command()
def schema() -> None:
    """Print the JSON Schema of the files that `simulate` takes, for editors and other tools."""
    from wirelesslab.network.scenario import schema_text

    click.echo(schema_text(), nl=False)


@cli.command()
def doctor() -> None:
    """Say what is installed, what is missing and how to get it."""
    from wirelesslab.doctor import report

    sound, text = report()
    click.echo(text)
    if not sound:
        sys.exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors that teach are printed without their origin."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = cli.main(args=words, prog_name="wirelesslab", standalone_mode=False)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as stop:
        told = str(stop if isinstance(stop, KeyboardInterrupt) else stop.__cause__ or "")  # by who was interrupted
        kept = told or "every finished batch is kept, and the same command goes on from there"
        click.echo(f"\nstopped; {'nothing was computed yet' if 'simulate' in words[:2] else kept}", err=True)
        sys.exit(130)
    except TROUBLE as error:
        if "--traceback" in words:
            raise
        ours = isinstance(error, OSError) and error.filename is None and error.strerror  # without "[Errno 28]"
        click.echo(f"Error: {ours or error}", err=True)
        if isinstance(error, TypeError):
            click.echo("(`wirelesslab --traceback …` shows where it came from)", err=True)
        sys.exit(1 if isinstance(error, RuntimeError) else 2)  # failed on the way, or refused at the door
    sys.exit(code if isinstance(code, int) else 0)  # what ctx.exit was given


def run_file(module: types.ModuleType | str) -> None:
    """Run a sim's own file with the flags of the command line."""
    name = module if isinstance(module, str) else module.__name__
    main(["run", Path(name).stem, *sys.argv[1:]])
