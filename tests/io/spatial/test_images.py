"""Images of tissue: formats, pyramids, conversions, refusals. Numbers of traps: specification, A.5."""

from __future__ import annotations

import struct
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from biolm.errors import InputError
from biolm.io.spatial.images import open_image

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(30, 200, (96, 160, 3), dtype=np.uint8)


def whole(path: Path) -> np.ndarray:
    with open_image(path) as image:
        return image.levels[0].read(0, 0, image.width, image.height)


@pytest.mark.parametrize("tile", [(32, 48), None])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_regions_are_those_of_the_array(tmp_path: Path, tile, planar: str) -> None:
    path = tmp_path / "image.tif"
    data = PIXELS if planar == "contig" else np.moveaxis(PIXELS, -1, 0)
    tifffile.imwrite(
        path,
        data,
        tile=tile,
        rowsperstrip=None if tile else 7,
        planarconfig=planar,
        photometric="rgb",
        compression="zlib",
    )
    with open_image(path) as image:
        for x, y, w, h in ((0, 0, 160, 96), (5, 9, 60, 40), (150, 90, 10, 6)):
            assert np.array_equal(image.levels[0].read(x, y, w, h), PIXELS[y : y + h, x : x + w])


def pyramid(path: Path, *, subifds: bool, side: int = 512) -> np.ndarray:
    """A tiled pyramid, levels as SubIFDs (OME) or as pages; returns the finest level."""
    fine = np.kron(RNG.integers(40, 220, (side // 32, side // 32, 3)), np.ones((32, 32, 1))).astype(np.uint8)
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}
    with tifffile.TiffWriter(path, bigtiff=True, ome=subifds) as file:
        meta = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"} if subifds else None
        file.write(fine, subifds=2 if subifds else 0, metadata=meta, **options)
        for step in (2, 4):
            file.write(fine[::step, ::step], subfiletype=1, metadata=None, **options)
    return fine


@pytest.mark.parametrize("subifds", [True, False])
@pytest.mark.parametrize("ending", [".tif", ".btf"])
def test_pyramids_of_both_kinds_are_found(tmp_path: Path, subifds: bool, ending: str) -> None:
    path = tmp_path / f"slide.ome{ending}"
    fine = pyramid(path, subifds=subifds)
    with open_image(path) as image:
        assert [level.downsample for level in image.levels] == [1, 2, 4]
        assert np.array_equal(image.levels[0].read(60, 60, 80, 80), fine[60:140, 60:140])
        assert image.level_for(3.9).downsample == 2
        assert image.level_for(0.5).downsample == 1
        assert image.microns_per_pixel == (0.5 if subifds else None)


def test_trap_15_a_shrunk_read_agrees_with_the_pyramid_level(tmp_path: Path) -> None:
    """Trap 15: no checkerboard, no missing tile: the finest level made smaller is the coarser level."""
    from biolm.io.spatial.resample import shrink

    path = tmp_path / "slide.ome.tif"
    pyramid(path, subifds=True)
    with open_image(path) as image:
        fine, coarse = shrink(image.levels[0], 128), shrink(image.levels[2], 128)
        inner = np.abs(fine.astype(int) - coarse)[4:-4, 4:-4]
        assert np.median(inner) <= 1
        assert inner.mean() < 6


def test_trap_15_sixteen_bits_are_scaled_and_said(tmp_path: Path) -> None:
    """Trap 15: uint16 is not cut to 8 bits; the range that became 0 to 255 is stated."""
    deep = RNG.integers(1000, 5000, (80, 90), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, tile=(32, 32), photometric="minisblack")
    with open_image(tmp_path / "deep.tif") as image:
        assert any("uint16 values" in note for note in image.notes)
        region = image.levels[0].read(10, 10, 40, 30)[..., 0].astype(float)
        truth = deep[10:40, 10:50].astype(float)
        assert np.corrcoef(region.ravel(), truth.ravel())[0, 1] > 0.999
        assert 240 < region.max() <= 255
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert whole(tmp_path / "deep.png")[..., 0].max() > 200


def test_alpha_palette_cmyk_and_grey_become_rgb_and_say_so(tmp_path: Path) -> None:
    rgba = np.dstack((PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)))
    rgba[:, :80, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as image:
        assert image.notes == ("alpha channel, laid over white",)
        assert (image.levels[0].read(80, 0, 80, 96) == 255).all()
    Image.fromarray(PIXELS).quantize(32).save(tmp_path / "p.png")
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "c.jpg", quality=98)
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "g.png")
    for name, word in (("p.png", "P colours"), ("c.jpg", "CMYK colours"), ("g.png", "one channel")):
        with open_image(tmp_path / name) as image:
            assert any(word in note for note in image.notes), name
            assert image.levels[0].read(0, 0, 9, 9).shape == (9, 9, 3)


def test_an_image_turned_by_exif_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "turned.jpg", exif=exif)
    with pytest.raises(InputError, match="turned by its EXIF orientation 6"):
        open_image(tmp_path / "turned.jpg")
    tifffile.imwrite(tmp_path / "turned.tif", PIXELS, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    with pytest.raises(InputError, match="turned by its orientation tag 6"):
        open_image(tmp_path / "turned.tif")


def test_blank_and_transparent_images_are_refused(tmp_path: Path, shared: Path) -> None:
    Image.fromarray(np.full((50, 50, 3), 255, np.uint8)).save(tmp_path / "white.png")
    Image.fromarray(np.zeros((50, 50, 4), np.uint8)).save(tmp_path / "clear.png")
    for path in (
        tmp_path / "white.png",
        tmp_path / "clear.png",
        shared / "data/spatial/visium_heart_reader/1.0.0/spatial/tissue_hires_image.png",
        shared / "data/spatial/seurat_visium_hd/binned_outputs/square_008um/spatial/tissue_hires_image.png",
    ):
        with pytest.raises(InputError, match="blank"):
            open_image(path)


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.98])
def test_a_truncated_tiff_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, np.tile(PIXELS, (4, 4, 1)), tile=(64, 64), photometric="rgb", compression="zlib")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with (
        pytest.raises(InputError, match=r"cut off|no whole TIFF|lacks tiles|cannot be decoded"),
        open_image(path) as image,
    ):
        image.levels[0].read(0, 0, image.width, image.height)


def test_a_truncated_jpeg_and_other_files_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.tile(PIXELS, (4, 4, 1))).save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match="damaged or cut off"):
        open_image(tmp_path / "cut.jpg")
    with pytest.raises(InputError, match="no image that can be read"):
        open_image(tmp_path / "text.png")
    with pytest.raises(InputError, match="no such image"):
        open_image(tmp_path / "nothing.png")


def one_tile(path: Path, tile: bytes, *, compression: int, photometric: int) -> None:
    """A TIFF of one tile of 64 x 64 RGB pixels, encoded by whoever."""
    tags = [
        (256, 4, 1, 64),
        (257, 4, 1, 64),
        (259, 3, 1, compression),
        (262, 3, 1, photometric),
        (277, 3, 1, 3),
        (284, 3, 1, 1),
        (322, 4, 1, 64),
        (323, 4, 1, 64),
    ]
    bits = 8 + 2 + 12 * (len(tags) + 3) + 4
    tags.insert(2, (258, 3, 3, bits))
    tags += [(324, 4, 1, bits + 6), (325, 4, 1, len(tile))]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    body = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    path.write_bytes(head + body + struct.pack("<I", 0) + struct.pack("<HHH", 8, 8, 8) + tile)


def test_jpeg_2000_tiles_name_the_package_they_need(tmp_path: Path) -> None:
    if find_spec("imagecodecs"):
        pytest.skip("imagecodecs is installed, which decodes them")
    one_tile(tmp_path / "jp2.tif", b"not decoded here", compression=34712, photometric=2)
    with pytest.raises(InputError, match="pip install imagecodecs"):
        open_image(tmp_path / "jp2.tif")


def test_jpeg_tiles_are_decoded_with_pillow(tmp_path: Path) -> None:
    smooth = np.stack(np.meshgrid(np.arange(64), np.arange(64)), -1)
    tile = np.dstack((smooth * 3, np.full((64, 64), 90))).astype(np.uint8)
    encoded = BytesIO()
    Image.fromarray(tile).save(encoded, "jpeg", quality=95, subsampling=0)
    one_tile(tmp_path / "jpeg.tif", encoded.getvalue(), compression=7, photometric=6)
    assert np.abs(whole(tmp_path / "jpeg.tif").astype(int) - tile).max() < 12
    # Components that are called RGB are not turned as if they were YCbCr.
    plain = BytesIO()
    Image.fromarray(tile).save(plain, "jpeg", quality=95, subsampling=0, keep_rgb=True)
    one_tile(tmp_path / "rgb.tif", plain.getvalue(), compression=7, photometric=2)
    assert np.abs(whole(tmp_path / "rgb.tif").astype(int) - tile).max() < 12


def test_slides_open_through_openslide(tmp_path: Path) -> None:
    openslide = pytest.importorskip("openslide")
    from biolm.io.spatial.slide import open_slide

    path = tmp_path / "generic.tif"
    fine = np.kron(RNG.integers(40, 220, (8, 8, 3)), np.ones((64, 64, 1))).astype(np.uint8)
    tifffile.imwrite(path, fine, tile=(256, 256), photometric="rgb", compression="zlib")
    assert openslide.OpenSlide.detect_format(str(path)) == "generic-tiff"
    with open_slide(path) as image:
        assert np.array_equal(image.levels[0].read(100, 50, 40, 30), fine[50:80, 100:140])
    (tmp_path / "broken.svs").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be opened by openslide"):
        open_image(tmp_path / "broken.svs")


def test_a_tiled_pyramid_of_any_size_takes_little_memory(tmp_path: Path) -> None:
    import psutil

    path = tmp_path / "large.tif"
    side, tile = 16_384, np.full((512, 512, 3), 200, np.uint8)
    tile[100:300, 100:300] = 90
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for step in (1, 4, 16):
            size = side // step
            count = (size // 512) ** 2
            file.write(
                (tile for _ in range(count)),
                shape=(size, size, 3),
                dtype=np.uint8,
                tile=(512, 512),
                photometric="rgb",
                compression="zlib",
                subfiletype=int(step > 1),
                metadata=None,
            )
    process = psutil.Process()
    before = process.memory_info().rss
    with open_image(path) as image:
        image.thumbnail()
        for place in range(0, side - 512, 3000):
            image.levels[0].read(place, place, 512, 512)
        assert process.memory_info().rss - before < 2**30
        # The whole of the finest level would take 0.8 GiB alone.
        assert image.levels[0].width == side
