"""OME-XML: what a microscope wrote about pixel size, channels, time, objective and stage."""

from dataclasses import dataclass
from xml.etree import ElementTree

from msc_vision.io.readers.base import Channel, settle_pixel_size, to_um


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file says about one image beside its pixels; None where it says nothing."""

    pixel_size_um: float | None = None
    channels: tuple[Channel, ...] = ()
    significant_bits: int | None = None
    acquired_at: str | None = None
    objective: str | None = None
    modality: str | None = None
    instrument: str | None = None
    y_um: float | None = None
    x_um: float | None = None
    z_um: float | None = None
    notes: tuple[str, ...] = ()


def parse(xml: str, index: int) -> Metadata:
    """Return the metadata of the image with the given number in an OME-XML document.

    XML that cannot be parsed gives empty metadata with a note: the pixels can still be read.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as err:
        return Metadata(notes=(f"The OME-XML cannot be parsed ({err}): its metadata is not used.",))
    images = root.findall("{*}Image")
    if index >= len(images):
        return Metadata()
    image = images[index]
    pixels = image.find("{*}Pixels")
    if pixels is None:
        return Metadata()
    size, notes = _pixel_size(pixels)
    channels = tuple(_channel(c) for c in pixels.findall("{*}Channel"))
    plane = pixels.find("{*}Plane")
    position = {} if plane is None else {axis: _position(plane, axis) for axis in "XYZ"}
    date = image.find("{*}AcquisitionDate")
    if date is None:
        date = image.find("{*}AcquiredDate")
    bits = pixels.get("SignificantBits", "")
    return Metadata(
        pixel_size_um=size,
        channels=channels,
        significant_bits=int(bits) if bits.isdigit() else None,
        acquired_at=(date.text or "").strip() or None if date is not None else None,
        objective=_objective(root, image),
        modality=_modality(pixels),
        instrument=_instrument(root, image),
        y_um=position.get("Y"),
        x_um=position.get("X"),
        z_um=position.get("Z"),
        notes=notes,
    )


def _pixel_size(pixels: ElementTree.Element) -> tuple[float | None, tuple[str, ...]]:
    """Return the pixel size; a literal 1 without a unit is what writers put when they do not know it."""
    sizes: list[float | None] = []
    for axis in "XY":
        text, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit")
        if text is None:
            sizes.append(None)
            continue
        if unit in {"pixel", "reference frame"} or (unit is None and _is_one(text)):
            return None, (f"PhysicalSize{axis} is {text} {unit or 'without a unit'}: not used as a pixel size.",)
        sizes.append(to_um(text, unit or "µm"))
    return settle_pixel_size(sizes[0], sizes[1])


def _is_one(text: str) -> bool:
    try:
        return float(text) == 1.0
    except ValueError:
        return False


def _channel(element: ElementTree.Element) -> Channel:
    mode = f"{element.get('ContrastMethod', '')} {element.get('IlluminationType', '')}".lower()
    names = [element.get("Name"), element.get("Fluor")]
    name = next((n for n in names if n), None)
    if any(word in mode for word in ("phase", "brightfield", "dic", "oblique", "transmitted", "hoffman", "darkfield")):
        return Channel(name or element.get("ContrastMethod") or "Transmitted", is_fluorescence=False)
    if "fluorescence" in mode or "epi" in mode or element.get("EmissionWavelength") or element.get("Fluor"):
        return Channel(name, is_fluorescence=True)
    return Channel(name)


def _modality(pixels: ElementTree.Element) -> str | None:
    methods = {c.get("ContrastMethod") for c in pixels.findall("{*}Channel")} - {None, "Fluorescence"}
    return next(iter(methods)) if len(methods) == 1 else None


def _objective(root: ElementTree.Element, image: ElementTree.Element) -> str | None:
    settings = image.find("{*}ObjectiveSettings")
    objectives = root.findall("{*}Instrument/{*}Objective")
    wanted = settings.get("ID") if settings is not None else None
    found = [o for o in objectives if wanted is None or o.get("ID") == wanted]
    if len(found) != 1:
        return None
    model, magnification = found[0].get("Model"), found[0].get("NominalMagnification")
    return model or (f"{float(magnification):g}x" if magnification else None)


def _instrument(root: ElementTree.Element, image: ElementTree.Element) -> str | None:
    reference = image.find("{*}InstrumentRef")
    wanted = reference.get("ID") if reference is not None else None
    for instrument in root.findall("{*}Instrument"):
        microscope = instrument.find("{*}Microscope")
        if microscope is not None and wanted in {None, instrument.get("ID")}:
            return " ".join(filter(None, (microscope.get("Manufacturer"), microscope.get("Model")))) or None
    return None


def _position(plane: ElementTree.Element, axis: str) -> float | None:
    unit = plane.get(f"Position{axis}Unit")
    return to_um(plane.get(f"Position{axis}"), unit) if unit and unit != "reference frame" else None
