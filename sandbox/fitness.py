"""What the engine and its images are, remembered until there is trouble, and whether they are fit to hold a box."""

from __future__ import annotations

from sandbox.driver import UnfitError
from sandbox.engine import Description, Engine, Image, ImageMissingError


class Fitness:
    """What is known of one engine. Raises UnfitError for what cannot hold a box, EngineError while it is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._description: Description | None = None
        self._images: dict[str, Image] = {}

    @property
    def memory_bytes(self) -> int | None:
        """What the engine's machine has; None while it is away."""
        return None if self._description is None else self._description.memory_bytes

    async def engine(self, runtime: str | None = None) -> Description:
        """The engine, if it is fit and has the runtime."""
        if self._description is None:
            self._description = await self._engine.describe()
        described = self._description
        if described.complaints:
            raise UnfitError(f"the engine is unfit: {'; '.join(described.complaints)}")
        if runtime is not None and runtime not in described.runtimes:
            raise UnfitError(f"the engine has no runtime {runtime!r}; it has {', '.join(sorted(described.runtimes))}")
        return described

    async def image(self, reference: str) -> Image:
        """The image as it was when it was last asked for: the one that was proven is the one that runs."""
        if reference not in self._images:
            try:
                self._images[reference] = await self._engine.image(reference)
            except ImageMissingError as error:
                raise UnfitError(f"the image {reference!r} is not on the engine") from error
        image = self._images[reference]
        if image.volumes:
            raise UnfitError(f"the image {reference!r} declares volumes, which would be writable: {image.volumes}")
        return image

    def known(self, reference: str) -> Image | None:
        """The image, if it was asked for already."""
        return self._images.get(reference)

    def forget_image(self, reference: str) -> None:
        """Ask anew what that name means."""
        self._images.pop(reference, None)

    def forget_engine(self) -> None:
        """Ask anew what the engine is."""
        self._description = None

    def forget(self) -> None:
        """After trouble nothing is known for sure: the engine may come back as another one."""
        self._description = None
        self._images.clear()
