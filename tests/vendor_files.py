"""Small files in vendor formats, written by hand after their published layouts, not by the vendors' software."""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LIF_CHANNEL = (
    '<ChannelDescription DataType="0" ChannelTag="0" Resolution="{bits}" NameOfMeasuredQuantity="" Min="0" Max="1" '
    'Unit="" LUTName="{lut}" IsLUTInverted="0" BytesInc="{step}" BitInc="0"/>'
)
LIF_DIMENSION = (
    '<DimensionDescription DimID="{dim}" NumberOfElements="{n}" Origin="0" Length="{length}" Unit="{unit}" '
    'BytesInc="{step}" BitInc="0"/>'
)


def write_lif(path: Path, images: dict[str, NDArray], pixel_size_um: float = 0.65, bits: int = 12) -> None:
    """Write (C, Z, Y, X) uint16 images as a LIF of version 2; channel 0 is fluorescence, channel 1 phase contrast."""
    elements, blocks = [], []
    for number, (name, image) in enumerate(images.items()):
        n_c, n_z, n_y, n_x = image.shape
        plane = n_y * n_x * 2
        channels = "".join(
            LIF_CHANNEL.format(bits=bits, lut=("Green", "Gray")[c % 2], step=c * n_z * plane) for c in range(n_c)
        )
        axes = [(1, n_x, 2, pixel_size_um * 1e-6 * (n_x - 1)), (2, n_y, 2 * n_x, pixel_size_um * 1e-6 * (n_y - 1))]
        axes += [(3, n_z, plane, 1e-5)] if n_z > 1 else []
        dims = "".join(LIF_DIMENSION.format(dim=d, n=n, length=le, unit="m", step=s) for d, n, s, le in axes)
        infos = "".join(
            f'<WideFieldChannelInfo ContrastingMethodName="{m}"/>' for m in ("FLUO", "TL-PH")[:n_c]
        )  # as LAS X writes them
        settings = (
            '<Attachment Name="HardwareSetting"><ATLCameraSettingDefinition ObjectiveName="N PLAN 10x/0.25" '
            f'SystemTypeName="DMi8">{infos}</ATLCameraSettingDefinition></Attachment>'
        )
        elements.append(
            f'<Element Name="{name}" UniqueID="u{number}">'
            f'<Memory Size="{image.nbytes}" MemoryBlockID="MemBlock_{number}"/>'
            f"<Data><Image><ImageDescription><Channels>{channels}</Channels><Dimensions>{dims}</Dimensions>"
            f"</ImageDescription>{settings}</Image></Data></Element>"
        )
        blocks.append((f"MemBlock_{number}", np.ascontiguousarray(image, "<u2").tobytes()))
    xml = (
        f'<LMSDataContainerHeader Version="2"><Element Name="project" UniqueID="p"><Memory Size="0" MemoryBlockID="M"/>'
        f"<Children>{''.join(elements)}</Children></Element></LMSDataContainerHeader>"
    )
    with path.open("wb") as file:
        file.write(struct.pack("<IIBI", 0x70, 2 * len(xml) + 5, 0x2A, len(xml)) + xml.encode("utf-16-le"))
        for name, data in blocks:
            file.write(struct.pack("<IIBQBI", 0x70, 2 * len(name) + 14, 0x2A, len(data), 0x2A, len(name)))
            file.write(name.encode("utf-16-le") + data)


ND2_MAGIC = 0x0ABECEDA
ND2_TIME_LOOP, ND2_POSITION_LOOP = 1, 2


def write_nd2(
    path: Path, frames: NDArray, channels: list[str], pixel_size_um: float | None = 0.65, bits: int = 12
) -> None:
    """Write (P, T, Y, X, C) uint16 frames as an ND2 of version 2.1 (XML metadata, uncompressed)."""
    n_p, n_t, n_y, n_x, n_c = frames.shape
    attributes = {
        "uiWidth": n_x, "uiWidthBytes": n_x * n_c * 2, "uiHeight": n_y, "uiComp": n_c, "uiBpcInMemory": 16,
        "uiBpcSignificant": bits, "uiSequenceCount": n_p * n_t, "eCompression": 2, "uiTileWidth": 0, "uiTileHeight": 0,
    }  # fmt: skip
    planes = {
        f"a{i}": {
            "uiSampleIndex": i,
            "sDescription": name,
            "uiModalityMask": 0x112 if "phase" in name.lower() else 0x101,
            "pFluorescentProbe": {"m_sName": "none"},
        }
        for i, name in enumerate(channels)
    }
    meta = {
        "bCalibrated": pixel_size_um is not None, "dCalibration": pixel_size_um or 1.0,
        "wsObjectiveName": "CFI 10x Ph1",
        "dXPos": 100.0, "dYPos": -20.0, "dZPos": 3.0, "dTimeAbsolute": 2_460_310.5, "dTimeMSec": 0.0,
        "sPicturePlanes": {"uiCount": n_c, "sPlaneNew": planes},
    }  # fmt: skip
    points = {f"p{i}": {"dPosX": 10.0 * i, "dPosY": 0.0, "dPosName": f"L0{i + 1}"} for i in range(n_p)}
    time = {"uiCount": n_t, "dStart": 0.0, "dPeriod": 1.0, "dDuration": 1.0}
    inner = {"eType": ND2_TIME_LOOP, "uLoopPars": time}
    positions = {"Points": points, "uiCount": n_p}
    outer = {"eType": ND2_POSITION_LOOP, "uLoopPars": positions, "ppNextLevelEx": {"a": inner}}
    chunks = {
        b"ImageAttributes!": _clx(attributes),
        b"ImageMetadataSeq|0!": _clx(meta),
        b"ImageMetadata!": _clx(outer if n_p > 1 else inner),
        b"CustomData|AcqTimesCache!": np.arange(n_p * n_t, dtype="<f8").tobytes(),
    }
    for number, frame in enumerate(frames.reshape(n_p * n_t, n_y, n_x, n_c)):
        chunks[f"ImageDataSeq|{number}!".encode()] = bytes(8) + np.ascontiguousarray(frame, "<u2").tobytes()
    with path.open("wb") as file:
        file.write(struct.pack("<IIQ32s64s", ND2_MAGIC, 32, 64, b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver2.1"))
        index = b""
        for name, data in chunks.items():
            index += name + struct.pack("<QQ", file.tell(), len(data))
            name_bytes = 4072 if name.startswith(b"ImageDataSeq") else 48
            file.write(struct.pack("<IIQ", ND2_MAGIC, name_bytes, len(data)) + name.ljust(name_bytes, b"\0") + data)
        at = file.tell()
        index += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", at)
        file.write(struct.pack("<IIQ", ND2_MAGIC, 32, len(index)) + b"ND2 FILEMAP SIGNATURE NAME 0001!" + index)


def _clx(value: dict) -> bytes:
    items = f'<no_name runtype="CLxListVariant">{_clx_items(value)}</no_name>'
    return f'<?xml version="1.0"?><variant version="1.0">{items}</variant>'.encode()


def _clx_items(value: dict) -> str:
    kinds = {bool: "bool", int: "lx_int64", float: "double", str: "CLxStringW"}
    parts = []
    for name, item in value.items():
        text = str(item).lower() if isinstance(item, bool) else item
        if isinstance(item, dict):
            parts.append(f'<{name} runtype="CLxListVariant">{_clx_items(item)}</{name}>')
        else:
            parts.append(f'<{name} runtype="{kinds[type(item)]}" value="{text}"/>')
    return "".join(parts)
