"""``mlmethods privacy``: account, calibrate, audit and attack."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlmethods.cli.arguments import TableFile
from mlmethods.cli.command import Options, command
from mlmethods.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    import pandas as pd

    from mlmethods.privacy import Accountant

__all__ = ["app"]

app = typer.Typer(
    help="What a private run spends, and what an attacker still learns.",
    no_args_is_help=True,
)


class Mechanism(StrEnum):
    """How gradients are randomized."""

    VMF = "vmf"
    GAUSSIAN = "gaussian"
    PURKAYASTHA = "purkayastha"
    LAPLACE = "laplace"


class Sampling(StrEnum):
    """How batches are drawn."""

    POISSON = "poisson"
    SHUFFLE = "shuffle"


_Kind = Annotated[Mechanism, typer.Option("--mechanism", help="The mechanism.")]
_Scale = Annotated[
    float,
    typer.Option(
        help="Concentration kappa, noise multiplier, or epsilon of the Laplace."
    ),
]
_Dimension = Annotated[
    list[int],
    typer.Option(
        "--dimension",
        min=2,
        help="Parameters of the network; repeat it for one direction a layer.",
    ),
]
_Draw = Annotated[Sampling, typer.Option(help="How batches are drawn.")]
_BatchSize = Annotated[int, typer.Option(help="Expected batch size.", min=1)]
_DataSize = Annotated[int, typer.Option(help="Rows of the training set.", min=1)]
_Steps = Annotated[int, typer.Option(help="Steps of the run.", min=1)]
_Delta = Annotated[float, typer.Option(help="Delta of the guarantee.")]


def _mechanism_class(kind: Mechanism) -> Any:
    from mlmethods import privacy

    return {
        Mechanism.VMF: privacy.VonMisesFisherMechanism,
        Mechanism.GAUSSIAN: privacy.GaussianMechanism,
        Mechanism.PURKAYASTHA: privacy.PurkayasthaMechanism,
        Mechanism.LAPLACE: privacy.EuclideanLaplaceMechanism,
    }[kind]


def _settings(kind: Mechanism, sampling: Sampling, groups: int) -> dict[str, Any]:
    """Return what else the constructor of a mechanism needs."""
    settings: dict[str, Any] = {}
    if kind is Mechanism.GAUSSIAN:
        if sampling is Sampling.SHUFFLE:
            settings["adjacency"] = "replace_one"
    elif groups > 1:
        settings["granularity"] = "layer"
    return settings


def _rate(batch_size: int, data_size: int) -> float:
    from mlmethods.errors import InvalidInputError

    if batch_size > data_size:
        raise InvalidInputError(
            f"--batch-size must be at most --data-size {data_size}, got {batch_size}"
        )
    return batch_size / data_size


def _participations(
    sampling: Sampling, batch_size: int, data_size: int, steps: int
) -> tuple[float | None, int]:
    """Return the sampling rate and how often an example takes part."""
    rate = _rate(batch_size, data_size)
    if sampling is Sampling.POISSON:
        return rate, steps
    # rows that do not fill a batch wait, so an epoch has the whole batches only
    return None, -(-steps // (data_size // batch_size))


def account(
    options: Options,
    *,
    mechanism: _Kind = Mechanism.VMF,
    scale: _Scale,
    dimension: _Dimension,
    sampling: _Draw = Sampling.POISSON,
    batch_size: _BatchSize,
    data_size: _DataSize,
    steps: _Steps,
    delta: _Delta = 1e-5,
) -> None:
    """Say what a private run spends, for which neighbors and in which unit."""
    from mlmethods.privacy import Accountant

    settings = _settings(mechanism, sampling, len(dimension))
    built = _mechanism_class(mechanism)(scale, **settings)
    accountant = Accountant()
    q, count = _participations(sampling, batch_size, data_size, steps)
    accountant.step(built, q, count, p=dimension)
    _say_report(options, accountant, delta)


def _say_report(options: Options, accountant: Accountant, delta: float) -> None:
    report = accountant.report(delta)
    if options.json:
        print_json(report)
    else:
        say(str(accountant))


def calibrate(
    options: Options,
    *,
    mechanism: _Kind = Mechanism.VMF,
    epsilon: Annotated[float, typer.Option(help="What the whole run may spend.")],
    dimension: _Dimension,
    sampling: _Draw = Sampling.POISSON,
    batch_size: _BatchSize,
    data_size: _DataSize,
    steps: _Steps,
    delta: _Delta = 1e-5,
    by: Annotated[
        str, typer.Option(help="How it is composed: rdp, pld or pure.")
    ] = "rdp",
) -> None:
    """Find the noise of a run that spends a given epsilon."""
    from mlmethods.privacy import Accountant
    from mlmethods.privacy import calibrate as search

    settings = _settings(mechanism, sampling, len(dimension))
    q, count = _participations(sampling, batch_size, data_size, steps)
    found = search(
        _mechanism_class(mechanism),
        target=epsilon,
        p=dimension,
        steps=count,
        q=q,
        delta=delta,
        by=by,
        **settings,
    )
    accountant = Accountant()
    accountant.step(found, q, count, p=dimension)
    if options.json:
        print_json({"mechanism": found.to_dict(), **accountant.report(delta)})
        return
    say(repr(found))
    say(str(accountant))


def audit(
    options: Options,
    *,
    mechanism: _Kind = Mechanism.VMF,
    scale: _Scale,
    dimension: Annotated[
        int, typer.Option(min=2, help="Dimension of what is released.")
    ],
    draws: Annotated[
        int, typer.Option(help="Releases of each of the two gradients.", min=100)
    ] = 10_000,
    delta: _Delta = 1e-5,
    significance: Annotated[
        float, typer.Option(help="How often the bound may be wrong.")
    ] = 1e-4,
) -> None:
    """Release opposite gradients many times, and bound epsilon from below."""
    from mlmethods.errors import ReproductionFailed
    from mlmethods.privacy.audit import canary_epsilon

    found = canary_epsilon(
        _mechanism_class(mechanism)(scale),
        dimension,
        draws,
        delta,
        significance,
        rng=options.seed,
        backend=options.resolve_backend(),
    )
    if options.json:
        print_json(found.to_dict())
    else:
        say(str(found))
    if not found.consistent:
        raise ReproductionFailed(
            f"the lower bound {found.lower:.4g} on epsilon exceeds the claim "
            f"{found.upper_claimed:.4g}: the mechanism does not keep its guarantee"
        )


def attack(
    options: Options,
    table: TableFile,
    *,
    loss: Annotated[str, typer.Option(help="The column of losses.")] = "loss",
    member: Annotated[
        str, typer.Option(help="The column that says who was trained on, 0 or 1.")
    ] = "member",
) -> None:
    """Guess from losses who was in the training set, and say how well it went."""
    from mlmethods.cli.tables import read_table
    from mlmethods.privacy.attacks import loss_threshold

    frame = read_table(table, None)
    losses, members = _columns(frame, loss, member)
    found = loss_threshold(losses[members], losses[~members], rng=options.seed)
    if options.json:
        print_json(found.to_dict())
        return
    low, high = found.auc_interval
    say(
        f"loss threshold on {members.sum()} members and {(~members).sum()} others: "
        f"AUC {found.auc:.3f} (95 % {low:.3f} to {high:.3f}; .5 is guessing)"
    )
    print_table(
        ("false positives", "true positives", "95 % interval"),
        [
            (f"{rate:.1%}", f"{value:.2%}", f"{low:.2%} to {high:.2%}")
            for rate, value, (low, high) in found.low_fpr_rows()
        ],
    )


def _columns(frame: pd.DataFrame, loss: str, member: str) -> tuple[Any, Any]:
    """Return losses and membership, checked."""
    import pandas as pd

    from mlmethods.errors import InvalidInputError

    for column in (loss, member):
        if column not in frame:
            raise InvalidInputError(
                f"the table has no column {column!r}; it has "
                f"{', '.join(map(str, frame.columns))}"
            )
    values = pd.to_numeric(frame[loss], errors="coerce").to_numpy(float)
    members = pd.to_numeric(frame[member], errors="coerce").to_numpy(float)
    if not set(members) <= {0.0, 1.0} or len(set(members)) < 2:
        raise InvalidInputError(
            f"--member must name a column with both 0 and 1, got {member!r}"
        )
    return values, members == 1


command(app)(account)
command(app)(calibrate)
command(app, computes=True)(audit)
command(app)(attack)
