"""A fork's beginning, its growth with further shapes, and its end: each one transaction of the target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...schemas.errors import Refused
from ...schemas.shape import Shape
from ..tail.connection import one_line
from . import state, tables
from .model import EntityModel, check_tables
from .plan import Plan
from .postgres import AGAIN, REJECTED, Target, translated
from .state import EntityState


@dataclass(frozen=True, slots=True)
class Growth:
    """What further shapes change in a fork: new tables, and known ones that grow."""

    shapes: tuple[Shape, ...]
    plans: tuple[tables.TablePlan, ...]
    evolutions: tuple[tables.Evolution, ...] = ()

    def make(self, target: Target) -> None:
        """Change the target, inside a transaction."""
        tables.make(target, self.plans)
        for evolution in self.evolutions:
            tables.evolve(target, evolution)
        state.add_shapes(target, self.shapes)
        for plan in self.plans:
            state.save_entity(target, EntityState(plan.model.entity))


def plan_growth(target: Target, models: Mapping[str, EntityModel], shapes: Sequence[Shape]) -> Growth:
    """See what further shapes need. Not inside a transaction.

    Args:
        target: The fork.
        models: Its entities as they are.
        shapes: The shapes that it does not know.

    Raises:
        Refused: It cannot follow.
    """
    after = dict(models)
    for shape in shapes:
        model = after.get(shape.entity)
        after[shape.entity] = model.then(shape) if model else EntityModel.of(shape)
    check_tables(after)
    return Growth(
        tuple(shapes),
        tuple(tables.plan_table(target, model) for entity, model in after.items() if entity not in models),
        tuple(
            tables.plan_evolution(target, models[entity], model)
            for entity, model in after.items()
            if entity in models and model is not models[entity]
        ),
    )


def create(target: Target, plan: Plan) -> None:
    """Make a fork as planned; nothing is applied yet.

    Raises:
        Refused: The target does not allow it.
    """
    try:
        with translated(), target.connection.transaction():
            state.create(target, plan.upstream)
            Growth(plan.shapes, plan.tables).make(target)
    except (*REJECTED, *AGAIN) as exc:
        raise Refused(f"the fork cannot be made: {one_line(exc)}") from exc


def drop(target: Target) -> list[str]:
    """Remove what a fork made, with all its rows; what is left and why, as texts.

    Raises:
        Locked: A process works on the fork.
        Refused: Something of the owner's depends on what would go.
    """
    target.lock()
    try:
        with translated(), target.connection.transaction():
            left = tables.drop(target)
            for table in state.TABLES:
                target.execute(f"DROP TABLE {state.SCHEMA}.{table}")
            target.execute(f"DROP SCHEMA {state.SCHEMA}")
    except (*REJECTED, *AGAIN) as exc:
        raise Refused(f"the fork cannot be dropped: {one_line(exc)}") from exc
    return left
