"""Text, table, array, HDF5, C3D and pickle files of pose tools and motion capture."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.formats import AmbiguousFile, FileClip, FormatError, LibraryMissing, ReadOptions, read_files
from tests.skeleton_prompt.clips.formats.pose_files import T, image, joints, person


def read(path: Path, **options: object) -> list[FileClip]:
    clips = list(read_files([path], ReadOptions(**options)))  # type: ignore[arg-type]
    for clip in clips:
        parse_clip(clip.document)
    return clips


def one(path: Path, **options: object) -> FileClip:
    (clip,) = read(path, **options)
    return clip


def notes(clip: FileClip) -> str:
    return "; ".join(clip.notes)


def z_up(metres: np.ndarray) -> np.ndarray:
    return np.stack([metres[..., 0], -metres[..., 2], metres[..., 1]], -1)


# --- NTU RGB+D


def ntu(path: Path, frames: list[list[tuple[str, np.ndarray]]], states: list[int] | None = None) -> Path:
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body, rows in bodies:
            lines += [f"{body} 0 0 0 0 0 0 0.1 -0.1 2", "25"]
            for joint, (x, y, z) in enumerate(rows):
                lines.append(f"{x:.6f} {y:.6f} {z:.6f} 280 200 1000 500 0 0 0 0 {states[joint] if states else 2}")
    path.write_text("\n".join(lines) + "\n")
    return path


NTU_NAME = "S003C002P015R001A042.skeleton"


def test_ntu_files_give_layout_rate_label_and_subject(tmp_path):
    metres = person("ntu25")
    clip = one(ntu(tmp_path / NTU_NAME, [[("72057594037900000", rows)] for rows in metres]))
    document = clip.document
    assert (document["layout"], document["fps"], document["label"], document["group"]) == (
        "ntu25",
        30.0,
        "A042",
        "P015",
    )
    np.testing.assert_allclose(parse_clip(document).positions[0], metres, atol=1e-5)
    assert document["id"] == NTU_NAME.removesuffix(".skeleton")


def test_ntu_bodies_are_kept_apart_by_their_ids(tmp_path):
    a, b = person("ntu25", seed=1), person("ntu25", seed=2) + np.array([1.0, 0, 0])
    frames = [[("7", a[i]), ("9", b[i])] if i % 2 else [("9", b[i]), ("7", a[i])] for i in range(T)]
    frames[3] = [("7", a[3])]
    frames.append([])
    found = one(ntu(tmp_path / NTU_NAME, frames)).document["keypoints"]
    assert found.shape == (T + 1, 2, 25, 4)
    np.testing.assert_allclose(found[:3, 1, :, :3], a[:3], atol=1e-5)
    assert np.isnan(found[3, 0]).all()


def test_ntu_tracking_states_become_confidences(tmp_path):
    found = one(ntu(tmp_path / NTU_NAME, [[("7", rows)] for rows in person("ntu25")], [0, 1] + [2] * 23)).document[
        "keypoints"
    ]
    assert np.isnan(found[0, 0]).all()
    assert found[0, 1, 3] == 0.5
    assert found[0, 2, 3] == 1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda lines: lines[:40], "cut off"),
        (lambda lines: ["x", *lines[1:]], "line 1"),
        (lambda lines: [*lines[:3], "24", *lines[4:]], "24 joints"),
        (lambda lines: [*lines[:5], "1 2 3", *lines[6:]], "line 6.*12 numbers"),
        (lambda lines: [*lines, "9"], "more lines"),
        (lambda _: ["0"], "no frames"),
        (lambda _: ["99999999999"], "line 1"),
    ],
)
def test_damaged_ntu_files_are_named_with_their_line(tmp_path, change, match):
    path = ntu(tmp_path / NTU_NAME, [[("7", rows)] for rows in person("ntu25", 2)])
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(FormatError, match=match):
        read(path)


# --- TRC


def trc(path: Path, values: np.ndarray, names: list[str], units: str = "mm", rate: str = "60") -> Path:
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{len(values)}\t{len(names)}\t{units}\t{rate}\t1\t{len(values)}",
        "Frame#\tTime\t" + "\t\t\t".join(names),
        "\t\t" + "\t".join(f"{axis}{i + 1}" for i in range(len(names)) for axis in "XYZ"),
        "",
    ]
    for index, rows in enumerate(values):
        cells = ["" if not np.isfinite(value) else f"{value:.4f}" for value in rows.ravel()]
        lines.append(f"{index + 1}\t{index / 60:.4f}\t" + "\t".join(cells))
    path.write_text("\n".join(lines) + "\n")
    return path


NAMES = ["Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "Hip", "RHip", "RKnee",
         "RAnkle", "LHip", "LKnee", "LAnkle"]  # fmt: skip


def test_trc_markers_rate_and_gaps(tmp_path):
    metres = person(NAMES)
    metres[2, 4] = np.nan
    clip = one(trc(tmp_path / "a.trc", metres * 1000, NAMES))
    assert clip.document["layout"] == {"joints": NAMES}
    assert clip.document["fps"] == 60
    parsed = parse_clip(clip.document)
    np.testing.assert_allclose(parsed.positions[0] / 1000, metres, atol=1e-6)
    assert parsed.confidence[0, 2, 4] == 0


def test_trc_with_z_up_is_stood_up_with_a_note(tmp_path):
    metres = person(NAMES)
    clip = one(trc(tmp_path / "a.trc", z_up(metres), NAMES, "m"))
    np.testing.assert_allclose(parse_clip(clip.document).positions[0], metres, atol=1e-3)
    assert "along z" in notes(clip)


def test_a_damaged_trc_is_named(tmp_path):
    (tmp_path / "a.trc").write_text("hello\n")
    with pytest.raises(FormatError, match="DataRate"):
        read(tmp_path / "a.trc")
    path = trc(tmp_path / "b.trc", person(NAMES), NAMES)
    path.write_text(path.read_text().replace("\t0.0000\t", "\t0.0000\tx", 1))
    with pytest.raises(FormatError, match="line 7"):
        read(path)


# --- tables


def deeplabcut(
    path: Path, values: np.ndarray, names: list[str], animals: tuple[str, ...] = (), kinds: str = "xyl"
) -> Path:
    words = {"x": "x", "y": "y", "z": "z", "l": "likelihood"}
    columns = [(animal, name, words[kind]) for animal in animals or ("",) for name in names for kind in kinds]
    lines = ["scorer," + ",".join("DLC_resnet50" for _ in columns)]
    if animals:
        lines.append("individuals," + ",".join(column[0] for column in columns))
    lines.append("bodyparts," + ",".join(column[1] for column in columns))
    lines.append("coords," + ",".join(column[2] for column in columns))
    for index, row in enumerate(values.reshape(len(values), -1)):
        lines.append(f"{index}," + ",".join("" if not np.isfinite(v) else f"{v:.4f}" for v in row))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_deeplabcut_tables(tmp_path):
    values = image("coco17")
    values[1, 2] = np.nan
    clip = one(deeplabcut(tmp_path / "a.csv", values, joints("coco17")))
    assert clip.document["layout"] == "coco17"
    np.testing.assert_allclose(clip.document["keypoints"], values, atol=1e-3)


def test_deeplabcut_with_several_individuals_and_without_likelihood(tmp_path):
    a, b = image("coco17", seed=1), image("coco17", seed=2)
    both = np.stack([a, b], 1)
    found = one(deeplabcut(tmp_path / "m.csv", both, joints("coco17"), ("one", "two"))).document["keypoints"]
    np.testing.assert_allclose(found, both, atol=1e-3)
    bare = one(deeplabcut(tmp_path / "b.csv", a[..., :2], joints("coco17"), kinds="xy"))
    np.testing.assert_allclose(bare.document["keypoints"][..., :2], a[..., :2], atol=1e-3)
    assert "likelihood" in notes(bare)


def test_labelled_data_of_deeplabcut_has_image_names(tmp_path):
    values = image("coco17", 4)[..., :2]
    path = deeplabcut(tmp_path / "CollectedData_me.csv", values, joints("coco17"), kinds="xy")
    lines = path.read_text().splitlines()
    named = []
    for number, line in enumerate(lines):
        first, rest = line.split(",", 1)
        named.append(f"{first},,,{rest}" if number < 3 else f"labeled-data,video,img{int(first):04d}.png,{rest}")
    lines = named
    path.write_text("\n".join(lines))
    np.testing.assert_allclose(one(path).document["keypoints"][..., :2], values, atol=1e-3)


def wide(path: Path, values: np.ndarray, header: list[str], first: list[list[str]], separator: str = ",") -> Path:
    lines = [separator.join(header)]
    for lead, row in zip(first, values.reshape(len(values), -1), strict=True):
        lines.append(separator.join([*lead, *(f"{value:.5f}" for value in row)]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "pattern", ["{}_X,{}_Y,{}_Z", "{}.x,{}.y,{}.z", "{}X,{}Y,{}Z", "{} x (m),{} y (m),{} z (m)", "X_{},Y_{},Z_{}"]
)
def test_kinect_tables_in_several_spellings(tmp_path, pattern):
    names = ["SpineBase", "SpineMid", "Neck", "Head", "ShoulderLeft", "ElbowLeft", "WristLeft", "HipLeft", "KneeLeft"]
    metres = person(names)
    header = ["frame", "time", *(column for name in names for column in pattern.replace("{}", name).split(","))]
    clip = one(wide(tmp_path / "k.csv", metres, header, [[str(i), f"{i / 15:.4f}"] for i in range(T)]))
    assert clip.document["y_axis"] == "up"
    assert clip.document["fps"] == pytest.approx(15, abs=0.02)
    np.testing.assert_allclose(clip.document["keypoints"][..., :3], metres, atol=1e-4)


def test_an_azure_kinect_table_has_y_down(tmp_path):
    names = ["PELVIS", "SPINE_NAVEL", "SPINE_CHEST", "NECK", "SHOULDER_LEFT", "HIP_LEFT", "KNEE_LEFT"]
    metres = person(names)
    header = ["timestamp_usec", *(f"{name}_{axis}" for name in names for axis in "xyz")]
    clip = one(wide(tmp_path / "a.csv", metres * [1, -1, -1], header, [[str(33_333 * i)] for i in range(T)]))
    np.testing.assert_allclose(parse_clip(clip.document).positions[0], metres, atol=1e-4)
    assert clip.document["fps"] == pytest.approx(30, abs=0.01)


def test_sleap_tables_have_tracks_and_scores(tmp_path):
    names = joints("coco17")
    a, b = image("coco17", seed=1), image("coco17", seed=2)
    header = ["track", "frame_idx", "instance.score", *(f"{n}.{axis}" for n in names for axis in ("x", "y", "score"))]
    lead = [[f"track_{k}", str(i), "0.9"] for i in range(T) for k in (0, 1)]
    rows = np.stack([a, b], 1).reshape(2 * T, 17, 3)
    clip = one(wide(tmp_path / "s.csv", rows, header, lead))
    assert clip.document["layout"] == "coco17"
    np.testing.assert_allclose(clip.document["keypoints"], np.stack([a, b], 1), atol=1e-4)


def test_a_table_with_semicolons_and_decimal_commas(tmp_path):
    values = image("coco17")[..., :2]
    path = wide(tmp_path / "s.csv", values, [f"{n}_{axis}" for n in joints("coco17") for axis in "xy"], [[]] * T, ";")
    path.write_text(path.read_text().replace(".", ","))
    np.testing.assert_allclose(one(path).document["keypoints"][..., :2], values, atol=1e-4)


def test_a_table_with_a_row_for_each_joint(tmp_path):
    values, names = image("coco17"), joints("coco17")
    rows = [f"{i},{n},{x},{y},{c}" for i, frame in enumerate(values) for n, (x, y, c) in zip(names, frame, strict=True)]
    (tmp_path / "l.csv").write_text("\n".join(["frame,joint,x,y,score", *rows]))
    clip = one(tmp_path / "l.csv")
    assert clip.document["layout"] == "coco17"
    np.testing.assert_allclose(clip.document["keypoints"], values)
    both = [f"{i},{person_},{j},{x},{y}" for i, frame in enumerate(values) for person_ in "ab"
            for j, (x, y, _) in enumerate(frame)]  # fmt: skip
    (tmp_path / "n.csv").write_text("\n".join(["frame,person,joint,x,y", *both]))
    with pytest.raises(AmbiguousFile, match="17 numbered joints"):
        read(tmp_path / "n.csv")
    found = one(tmp_path / "n.csv", layout="coco17").document["keypoints"]
    np.testing.assert_allclose(found[:, 1, :, :2], values[..., :2])


def test_the_pose_of_a_holistic_table(tmp_path):
    metres = person("mediapipe33")
    metres -= metres[:, [23, 24]].mean(1, keepdims=True)
    lines = ["frame,row_id,type,landmark_index,x,y,z"]
    for i, frame in enumerate(metres * [1, -1, -1]):
        lines += [f"{i},{i}-face-{j},face,{j},0.1,0.2,0.3" for j in range(40)]
        lines += [f"{i},{i}-pose-{j},pose,{j},{x},{y},{z}" for j, (x, y, z) in enumerate(frame)]
    (tmp_path / "h.csv").write_text("\n".join(lines))
    clip = one(tmp_path / "h.csv")
    assert (clip.document["layout"], clip.document["y_axis"]) == ("mediapipe33", "down")
    np.testing.assert_allclose(parse_clip(clip.document).positions[0], metres, atol=1e-5)


def test_numbered_columns_are_mediapipe_or_ask_for_the_layout(tmp_path):
    metres = person("mediapipe33")
    metres -= metres[:, [23, 24]].mean(1, keepdims=True)
    world = np.concatenate([metres * [1, -1, -1], np.full((T, 33, 1), 0.9)], -1)
    header = [f"{axis}{i}" for i in range(33) for axis in "xyzv"]
    clip = one(wide(tmp_path / "m.csv", world, header, [[]] * T))
    assert (clip.document["layout"], clip.document["y_axis"]) == ("mediapipe33", "down")
    other = wide(tmp_path / "n.csv", image("coco17")[..., :2], [f"{a}{i}" for i in range(17) for a in "xy"], [[]] * T)
    with pytest.raises(AmbiguousFile, match=r"17 numbered joints.*--layout"):
        read(other)
    assert one(other, layout="coco17").document["layout"] == "coco17"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("a,b\n1,2\n", "no known format"),
        ("frame,SpineBase_X,SpineBase_Y,SpineBase_Z\n1,0.1,0.2,2.5\n", "one frame only|names"),
        ("nose_x,nose_y,neck_x,neck_y\n1,2,3,4\n5,six,7,8\n", "row 3.*six"),
        ("scorer,a,a\nbodyparts,nose,nose\ncoords,x,likelihood\n0,1,1\n1,1,1\n", "x and y"),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path, content, match):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(FormatError, match=match):
        read(tmp_path / "t.csv")


# --- HDF5 and C3D


def sleap(path: Path, tracks: np.ndarray, names: list[str], **attributes: str) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        data = file.create_dataset("tracks", data=tracks)
        for name, value in attributes.items():
            data.attrs[name] = value
        file["node_names"] = np.array([name.encode() for name in names])
        file["track_names"] = np.array([b"track_0", b"track_1"])
    return path


def test_sleap_analysis_in_both_orders_of_axes(tmp_path):
    values = np.stack([image("coco17", seed=1), image("coco17", seed=2)], 1)[..., :2]  # (T, tracks, nodes, 2)
    values[2, 0] = np.nan
    matlab = sleap(tmp_path / "a.analysis.h5", values.transpose(1, 3, 2, 0), joints("coco17"))
    python = sleap(tmp_path / "b.h5", values, joints("coco17"), dims='["frame", "track", "node", "xy"]')
    for path in (matlab, python):
        clip = one(path)
        assert clip.document["layout"] == "coco17"
        np.testing.assert_allclose(clip.document["keypoints"][..., :2], values)
    assert one(matlab).document["id"] == "a"


def test_deeplabcut_hdf5_is_read_without_running_its_pickle(tmp_path):
    h5py = pytest.importorskip("h5py")
    values, names = image("coco17"), joints("coco17")
    columns = [("DLC", name, kind) for name in names for kind in ("x", "y", "likelihood")]
    table = np.zeros(T, dtype=[("index", "<i8"), ("values_block_0", "<f8", (len(columns),))])
    table["index"], table["values_block_0"] = np.arange(T), values.reshape(T, -1)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        group = file.create_group("df_with_missing")
        group["table"] = table
        group.attrs["non_index_axes"] = np.bytes_(pickle.dumps([(1, columns)], 0))
    clip = one(tmp_path / "d.h5")
    assert clip.document["layout"] == "coco17"
    np.testing.assert_allclose(clip.document["keypoints"], values)


def test_damaged_and_foreign_hdf5_is_named(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(FormatError, match="damaged"):
        read(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes(b"hello")
    with pytest.raises(FormatError, match="not an HDF5"):
        read(tmp_path / "b.h5")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(FormatError, match=r"weights.*neither SLEAP"):
        read(tmp_path / "c.h5")


def c3d_file(path: Path, metres: np.ndarray, names: list[str]) -> Path:
    c3d = pytest.importorskip("c3d")
    writer = c3d.Writer(point_rate=100)
    writer.set_point_labels(names)
    for rows in metres:
        points = np.zeros((len(names), 5), np.float32)
        points[:, :3] = np.nan_to_num(rows * 1000)
        points[:, 3] = np.where(np.isfinite(rows).all(1), 0, -1)
        writer.add_frames([(points, np.array([]))])
    with path.open("wb") as stream:
        writer.write(stream)
    return path


@pytest.mark.filterwarnings("ignore")
def test_c3d_points_with_z_up_are_stood_up(tmp_path):
    metres = person(NAMES)
    metres[2, 4] = np.nan
    clip = one(c3d_file(tmp_path / "a.c3d", z_up(metres), NAMES))
    assert clip.document["fps"] == 100
    parsed = parse_clip(clip.document)
    np.testing.assert_allclose(parsed.positions[0] / 1000, metres, atol=1e-4)
    assert parsed.confidence[0, 2, 4] == 0


def test_a_damaged_c3d_is_named(tmp_path):
    (tmp_path / "a.c3d").write_bytes(b"\x02P" + bytes(600))
    with pytest.raises(FormatError, match="damaged"):
        read(tmp_path / "a.c3d")
    (tmp_path / "b.c3d").write_bytes(b"text")
    with pytest.raises(FormatError, match="not a C3D"):
        read(tmp_path / "b.c3d")


@pytest.mark.parametrize(("name", "library"), [("a.c3d", "c3d"), ("a.h5", "h5py")])
def test_a_missing_library_names_the_extra(tmp_path, monkeypatch, name, library):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    (tmp_path / name).write_bytes(b"\x02P" + bytes(600) if library == "c3d" else b"\x89HDF\r\n\x1a\n")
    with pytest.raises(LibraryMissing, match=r"pip install 'skeleton-prompt\[formats\]'"):
        read(tmp_path / name)


# --- pickles


def pyskl(values: np.ndarray, **more: object) -> dict[str, object]:
    return {
        "split": {"train": ["a"]},
        "annotations": [
            {"frame_dir": "S001C001P003R001A050", "total_frames": len(values), "img_shape": (1080, 1920),
             "original_shape": (1080, 1920), "label": 49, **more}
        ],
    }  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_pyskl_pickles_of_every_protocol(tmp_path, protocol, dtype):
    values = image("coco17").astype(dtype)
    data = pyskl(values, keypoint=values[None, ..., :2], keypoint_score=values[None, ..., 2])
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(data, protocol))
    document = one(tmp_path / "a.pkl").document
    assert (document["layout"], document["label"], document["group"]) == ("coco17", "49", "P003")
    assert document["image_size"] == [1920.0, 1080.0]
    np.testing.assert_allclose(document["keypoints"], values)


def test_pyskl_3d_with_two_people_of_whom_one_is_padding(tmp_path):
    metres = person("ntu25")
    keypoint = np.stack([metres, np.zeros_like(metres)]).astype(np.float32)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(pyskl(metres, keypoint=keypoint)["annotations"]))
    clip = one(tmp_path / "a.pkl")
    assert clip.document["layout"] == "ntu25"
    np.testing.assert_allclose(clip.document["keypoints"].reshape(T, -1, 25, 4)[:, 0, :, :3], metres, atol=1e-6)


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/evil",)


@pytest.mark.parametrize(
    "value",
    [
        Evil(),
        {"annotations": [{"keypoint": Evil()}]},
        {"annotations": [{"keypoint": np.array([{}], dtype=object)}]},
        io.StringIO,
        Path("a"),
    ],
)
def test_a_pickle_that_needs_code_is_refused_and_never_run(tmp_path, value):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(FormatError, match=r"never run here.*np.savez"):
        read(tmp_path / "a.pkl")
    assert not Path("/tmp/evil").exists()  # noqa: S108


@pytest.mark.parametrize("data", [b"", b"\x80\x05", b"not a pickle", pickle.dumps({"a": 1}), pickle.dumps([1, 2])])
def test_damaged_and_foreign_pickles_are_named(tmp_path, data):
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(FormatError, match=r"a\.pkl"):
        read(tmp_path / "a.pkl")


def test_a_pickle_that_grows_by_sharing_is_no_trap():
    from skeleton_prompt.clips.formats.safe_pickle import UnsafePickle, safe_loads

    value: list[object] = []
    for _ in range(60):
        value = [value, value]
    safe_loads(pickle.dumps(value))
    for _ in range(60):
        value = [value]
    with pytest.raises(UnsafePickle, match="deeper"):
        safe_loads(pickle.dumps(value))
    looped: list[object] = []
    looped.append(looped)
    with pytest.raises(UnsafePickle):
        safe_loads(pickle.dumps(looped))


# --- arrays


def test_an_array_asks_for_layout_and_coords(tmp_path):
    np.save(tmp_path / "a.npy", image("coco17"))
    with pytest.raises(AmbiguousFile, match=r"--layout NAME and --coords.*17: coco17"):
        read(tmp_path / "a.npy")
    with pytest.raises(AmbiguousFile, match=r"--coords xyz .*--coords xyc"):
        read(tmp_path / "a.npy", layout="coco17")
    clip = one(tmp_path / "a.npy", layout="coco17", coords="xyc")
    np.testing.assert_allclose(clip.document["keypoints"], image("coco17"))


@pytest.mark.parametrize(("order", "axes"), [("TJC", (0, 1, 2)), ("CTJ", (2, 0, 1)), ("TCJ", (0, 2, 1))])
def test_the_order_of_axes_is_found_where_one_fits(tmp_path, order, axes):
    values = image("openpose18", 20)
    np.save(tmp_path / "a.npy", values.transpose(axes))
    clip = one(tmp_path / "a.npy", layout="openpose18", coords="xyc")
    np.testing.assert_allclose(clip.document["keypoints"], values)
    assert f"read as {order}" in notes(clip)


def test_a_row_of_numbers_for_each_frame_is_read(tmp_path):
    values = image("coco17")
    np.save(tmp_path / "a.npy", values.reshape(T, -1))
    np.testing.assert_allclose(one(tmp_path / "a.npy", layout="coco17", coords="xyc").document["keypoints"], values)


@pytest.mark.parametrize(("order", "axes"), [("PTJC", (1, 0, 2, 3)), ("TPJC", (0, 1, 2, 3)), ("CTJP", (3, 0, 2, 1))])
def test_the_order_of_axes_can_be_stated(tmp_path, order, axes):
    values = np.stack([image("openpose18", 20, seed=k) for k in range(3)], 1)  # (T, P, J, C)
    np.save(tmp_path / "a.npy", values.transpose(axes))
    clip = one(tmp_path / "a.npy", layout="openpose18", coords="xyc", axes=order.lower())
    np.testing.assert_allclose(clip.document["keypoints"], values)
    for wrong in ("TJC", "TTJC", "ABCD"):
        with pytest.raises(AmbiguousFile, match="--axes"):
            read(tmp_path / "a.npy", layout="openpose18", coords="xyc", axes=wrong)


def test_an_order_that_two_readings_fit_is_asked_for(tmp_path):
    values = np.stack([image("coco17", 5, seed=k) for k in range(4)], 1)
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(AmbiguousFile, match=r"TPJC or PTJC or NTJC.*--axes"):
        read(tmp_path / "a.npy", layout="coco17", coords="xyc")
    found = one(tmp_path / "a.npy", layout="coco17", coords="xyc", axes="TPJC").document["keypoints"]
    np.testing.assert_allclose(found, values)


def test_st_gcn_tensors_are_clips_without_their_padding(tmp_path):
    metres = np.stack([person("ntu25", 20, seed=k) for k in range(3)])  # (N, T, J, C)
    tensor = np.zeros((3, 3, 20, 25, 2), np.float32)
    tensor[..., 0] = metres.transpose(0, 3, 1, 2)
    np.save(tmp_path / "train_data_joint.npy", tensor)
    clips = read(tmp_path / "train_data_joint.npy", layout="ntu25", coords="xyz")
    assert len(clips) == 3
    found = clips[1].document["keypoints"].reshape(20, -1, 25, 4)
    np.testing.assert_allclose(found[:, 0, :, :3], metres[1], atol=1e-6)
    assert found.shape[1] == 1


@pytest.mark.parametrize("points", [33, 553])
def test_freemocap_files_are_known_by_their_names(tmp_path, points):
    metres = z_up(person("mediapipe33")) * 1000
    values = np.concatenate([metres, np.ones((T, points - 33, 3))], 1)
    values[2, 5] = np.nan
    np.save(tmp_path / "mediapipe_body_3d_xyz.npy", values)
    clip = one(tmp_path / "mediapipe_body_3d_xyz.npy")
    assert clip.document["layout"] == "mediapipe33"
    parsed = parse_clip(clip.document)
    assert np.isnan(parsed.positions[0, 2, 5]).all()
    np.testing.assert_allclose(parsed.positions[0, 0] / 1000, person("mediapipe33")[0], atol=1e-5)


def test_an_archive_with_names_needs_no_layout(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=image("coco17")[..., :2], joint_names=joints("coco17"), fps=25)
    document = one(tmp_path / "a.npz").document
    assert (document["layout"], document["fps"]) == ("coco17", 25)


def test_an_archive_says_what_it_lacks(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=image("coco17"))
    with pytest.raises(AmbiguousFile, match=r"keypoints .* found, but no joint_names.*offsets and joint_names"):
        read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", poses=np.zeros((9, 156)), trans=np.zeros((9, 3)))
    with pytest.raises(FormatError, match="AMASS"):
        read(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", weights=np.zeros(3))
    with pytest.raises(FormatError, match="no array called keypoints among weights"):
        read(tmp_path / "c.npz")


def test_a_set_of_three_numbers_without_coords_is_asked_about(tmp_path):
    np.savez(tmp_path / "s.npz", keypoints=image("coco17"), offsets=[0, T], joint_names=joints("coco17"))
    with pytest.raises(AmbiguousFile, match="--coords xyz"):
        read(tmp_path / "s.npz")
    parsed = parse_clip(one(tmp_path / "s.npz", coords="xyc").document)
    np.testing.assert_allclose(parsed.confidence[0], image("coco17")[..., 2], atol=1e-6)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_arrays_of_objects_are_never_unpickled(tmp_path, name):
    values = np.array([Evil()], dtype=object)
    if name.endswith("y"):
        np.save(tmp_path / name, values, allow_pickle=True)
    else:
        np.savez(tmp_path / name, keypoints=values)
    with pytest.raises(FormatError, match="objects"):
        read(tmp_path / name)
    assert not Path("/tmp/evil").exists()  # noqa: S108


# --- what is not read


@pytest.mark.parametrize(
    ("name", "match"),
    [("a.slp", "analysis HDF5"), ("a.xml", "COCO Keypoints"), ("a.mp4", "pose estimator"), ("a.fbx", "BVH"),
     ("a.pth", "never read"), ("a.dat", "convert --list")],
)  # fmt: skip
def test_files_that_are_not_read_name_the_way_out(tmp_path, name, match):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(FormatError, match=match):
        read(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"gone\.json.*No such file"):
        read(tmp_path / "gone.json")
    with pytest.raises(FormatError, match="no file matches"):
        list(read_files([tmp_path / "*.json"]))
