"""What each figure of a cell's shape is. Lengths in formulas are those of the default settings."""

from msc_vision.morphology.feature import Feature

SHAPE_FEATURES = (
    Feature(
        name="area_um2",
        of="cell",
        unit="µm²",
        meaning="How much surface the cell covers.",
        formula="pixels of the cell times the area of a pixel",
        source="own",
    ),
    Feature(
        name="perimeter_um",
        of="cell",
        unit="µm",
        meaning="How long the cell's outline is, holes included.",
        formula="lines in eight directions are counted where they cut the outline (Cauchy and Crofton)",
        source=(
            "G. Lehmann and D. Legland, Insight Journal (2012), perimeter by intersection counts; eight "
            "directions are own"
        ),
    ),
    Feature(
        name="length_um",
        of="cell",
        unit="µm",
        meaning="How long the cell is along its middle line, from tip to tip.",
        formula="longest way along the medial axis, gone on straight to the rim at both ends",
        source="thinning: Z. Guo and R. W. Hall, Communications of the ACM 32, 359 (1989); the way is own",
    ),
    Feature(
        name="width_um",
        of="cell",
        unit="µm",
        meaning="How wide the cell is on average.",
        formula="area / length",
        source="own",
    ),
    Feature(
        name="max_width_um",
        of="cell",
        unit="µm",
        meaning="How wide the cell is where it is widest.",
        formula="diameter of the largest circle that lies in the cell",
        source="own",
    ),
    Feature(
        name="aspect_ratio",
        of="cell",
        unit="1",
        meaning=(
            "How many times longer than broad the cell is as a whole, 1 for a disc; bending and arms make it smaller."
        ),
        formula="sqrt(major / minor) of the second moments of its pixels",
        source="second moments as in scikit-image regionprops",
    ),
    Feature(
        name="medial_aspect_ratio",
        of="cell",
        unit="1",
        meaning=(
            "How many times longer than wide the cell is along its middle line; bending does not change "
            "it, 1.27 for a disc."
        ),
        formula="length / width = length² / area",
        source="own",
    ),
    Feature(
        name="elongation",
        of="cell",
        unit="1",
        meaning="How drawn out the cell is, 0 for a disc, towards 1 for a line.",
        formula="1 - 1 / aspect ratio",
        source="own",
    ),
    Feature(
        name="circularity",
        of="cell",
        unit="1",
        meaning="How close the outline is to a circle, 1 for a disc; the same as the form factor.",
        formula="4 pi area / perimeter², at most 1",
        source="E. P. Cox, Journal of Paleontology 1, 179 (1927)",
    ),
    Feature(
        name="solidity",
        of="cell",
        unit="1",
        meaning="How far the cell fills the tightest rubber band around it; arms and bending make it smaller.",
        formula="area / area of the convex hull, at most 1",
        source="as in scikit-image regionprops, hull around the middles of pixel sides",
    ),
    Feature(
        name="n_branches",
        of="cell",
        unit="1",
        meaning="How many arms the cell has beside its longest way: 0 for a spindle, 1 or more for a star.",
        formula=(
            "tips of the medial axis that reach beyond where their arm begins by half the radius of the "
            "largest circle in the cell"
        ),
        source="own",
    ),
    Feature(
        name="bending",
        of="cell",
        unit="1",
        meaning="How bent the cell is, 0 for straight, 1 for tips that meet.",
        formula="1 - distance between the tips / length",
        source="own",
    ),
    Feature(
        name="orientation_deg",
        of="cell",
        unit="degrees",
        meaning=(
            "Where the long axis of the cell points: 0 along the rows, 90 along the columns, 45 to the upper right."
        ),
        formula="angle of the major axis of the second moments, 0 to 180",
        source="second moments as in scikit-image regionprops",
    ),
    Feature(
        name="body_grey",
        of="cell",
        unit="1",
        meaning="How much brighter (above 0) or darker (below 0) the cell is than what lies around it.",
        formula="mean grey of the cell / mean grey of the rest of its box and 15 µm around it - 1",
        source="own",
    ),
    Feature(
        name="halo",
        of="cell",
        unit="1",
        meaning="How bright the ring of light outside the cell is; thick and rounded cells have a strong one.",
        formula="mean grey of bare surface up to 3 µm (along rows, columns) from this cell only / mean grey around - 1",
        source="own",
    ),
    Feature(
        name="texture",
        of="cell",
        unit="1",
        meaning="How grainy the inside of the cell is at about 2 µm: granules, vacuoles, droplets.",
        formula=(
            "mean absolute difference between the grey smoothed with 0.7 µm and its mean over 6 µm, "
            "more than 3 µm from the rim, / mean grey around the cell"
        ),
        source="own",
    ),
    Feature(
        name="rounded_share",
        of="cell",
        unit="1",
        meaning="How sure the network is that this is a rounded cell.",
        formula="mean of the map of rounded cells over the cell, 0 to 1",
        source="own",
    ),
    Feature(
        name="aggregate_share",
        of="cell",
        unit="1",
        meaning="How sure the network is that the cell lies in an aggregate.",
        formula="mean of the map of aggregates over the cell, 0 to 1",
        source="own",
    ),
    Feature(
        name="debris_share",
        of="cell",
        unit="1",
        meaning="How sure the network is that this is debris.",
        formula="mean of the map of debris over the cell, 0 to 1",
        source="own",
    ),
)
"""In the order of their columns in `msc_vision.morphology.shape.SHAPE_COLUMNS`."""
