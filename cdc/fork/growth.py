"""A fork's beginning, its growth with further shapes, and its end: each one transaction of the target, where that takes tables into one."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from ...schemas.errors import Refused
from ...schemas.shape import Shape
from .model import EntityModel, check_tables, place
from .plan import DOCUMENTS, Plan, Schema
from .state import EntityState
from .store import Again, Rejected, Store
from .table_plan import Evolution, TablePlan


@dataclass(frozen=True, slots=True)
class Growth:
    """What further shapes change in a fork: new tables, and known ones that grow."""

    shapes: tuple[Shape, ...]
    plans: tuple[TablePlan, ...]
    evolutions: tuple[Evolution, ...] = ()
    schemas: tuple[Schema, ...] = ()

    def make(self, target: Store) -> None:
        """Make and change tables; inside a transaction where the engine takes them there."""
        target.make_tables(self.plans)
        for evolution in self.evolutions:
            target.evolve(evolution)

    def remember(self, target: Store) -> None:
        """Remember it, inside a transaction."""
        for shape in self.shapes:
            target.memory.add_shape(shape)
        for id_, data in self.schemas:
            target.memory.add_schema(id_, data)
        for plan in self.plans:
            target.memory.save_entity(EntityState(plan.model.entity))


def plan_growth(
    target: Store,
    models: Mapping[str, EntityModel],
    shapes: Sequence[Shape],
    *,
    engine: str = "postgresql",
    schemas: Sequence[Schema] = (),
) -> Growth:
    """See what further shapes and app schemas need. Not inside a transaction.

    Args:
        target: The fork.
        models: Its entities as they are.
        shapes: The shapes that it does not know.
        engine: The source's engine.
        schemas: The app schemas that it does not know, of a source with documents.

    Raises:
        Refused: It cannot follow.
    """
    after = dict(models)
    for shape in shapes:
        model = after.get(shape.entity)
        after[shape.entity] = model.then(shape) if model else EntityModel.of(shape, engine)
    check_tables(after, target.shown)
    if engine == DOCUMENTS:
        place(after, [*target.memory.schemas(), *(data for _, data in schemas)])
    return Growth(
        tuple(shapes),
        tuple(target.plan_table(model) for entity, model in after.items() if entity not in models),
        tuple(
            target.plan_evolution(models[entity], model)
            for entity, model in after.items()
            if entity in models and model is not models[entity]
        ),
        tuple(schemas),
    )


def create(target: Store, plan: Plan) -> None:
    """Make a fork as planned; nothing is applied yet.

    Raises:
        Refused: The target does not allow it.
    """
    growth = Growth(plan.shapes, plan.tables, schemas=plan.schemas)
    try:
        if not target.ddl_in_transaction:
            # Begun and not ended, this is begun anew by the same command: a fork is there when its position is.
            target.memory.make()
            growth.make(target)
        with target.transaction():
            if target.ddl_in_transaction:
                target.memory.make()
                growth.make(target)
            target.memory.begin(plan.upstream)
            growth.remember(target)
            target.memory.plan_to(plan.head.seq)
    except (Rejected, Again) as exc:
        raise Refused(f"the fork cannot be made: {exc}") from exc


def drop(target: Store) -> list[str]:
    """Remove what a fork made, with all its rows; what is left and why, as texts.

    Raises:
        Locked: A process works on the fork.
        Refused: Something of the owner's depends on what would go.
    """
    target.lock()
    try:
        with target.transaction() if target.ddl_in_transaction else nullcontext():
            left = target.drop_tables()
            target.memory.drop()
    except (Rejected, Again) as exc:
        raise Refused(f"the fork cannot be dropped: {exc}") from exc
    return left
