"""The built-in layouts as data: joint names in order and edges, and the other names that layouts go by."""

from __future__ import annotations

from itertools import pairwise

from skeleton_prompt.clips.canonical_skeleton import CANONICAL, CANONICAL_EDGES


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    """Edges from compact text: ``"0-1-2 0-3"`` is (0, 1), (1, 2), (0, 3)."""
    edges: list[tuple[int, int]] = []
    for chain in text.split():
        stops = [int(stop) for stop in chain.split("-")]
        edges += pairwise(stops)
    return tuple(edges)


def _hand(side: str) -> str:
    """The 21 joints of a hand of COCO-WholeBody."""
    fingers = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
    names = [f"{side}_{finger}{number}" for finger in fingers for number in range(1, 5)]
    return " ".join([f"{side}_hand_root", *names])


# Names and order as published with each set; joints of one layout on a few lines so that an index can be counted.
BUILT_IN: dict[str, tuple[str, tuple[tuple[int, int], ...]]] = {
    "coco17": (
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
        _pairs("0-1-3 0-2-4 5-6 5-7-9 6-8-10 5-11 6-12 11-12 11-13-15 12-14-16"),
    ),
    "openpose18": (
        "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee"
        " right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear",
        _pairs("0-1 1-2-3-4 1-5-6-7 1-8-9-10 1-11-12-13 0-14-16 0-15-17"),
    ),
    "openpose25": (
        "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip right_hip"
        " right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe"
        " left_small_toe left_heel right_big_toe right_small_toe right_heel",
        _pairs("0-1-8 1-2-3-4 1-5-6-7 8-9-10-11-22-23 8-12-13-14-19-20 0-15-17 0-16-18 14-21 11-24"),
    ),
    "mediapipe33": (
        "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear"
        " mouth_left mouth_right left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_pinky"
        " right_pinky left_index right_index left_thumb right_thumb left_hip right_hip left_knee right_knee left_ankle"
        " right_ankle left_heel right_heel left_foot_index right_foot_index",
        _pairs(
            "0-1-2-3-7 0-4-5-6-8 9-10 11-12 11-13-15-17-19-15-21 12-14-16-18-20-16-22 11-23 12-24 23-24"
            " 23-25-27-29-31-27 24-26-28-30-32-28"
        ),
    ),
    "halpe26": (
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle head neck hip left_big_toe"
        " right_big_toe left_small_toe right_small_toe left_heel right_heel",
        _pairs(
            "0-1-3 0-2-4 17-18 0-18-19 18-5-7-9 18-6-8-10 19-11-13-15 19-12-14-16"
            " 15-20-22 15-24 16-21-23 16-25"
        ),
    ),
    "h36m17": (" ".join(CANONICAL), CANONICAL_EDGES),
    "ntu25": (
        "spine_base spine_mid neck head left_shoulder left_elbow left_wrist left_hand right_shoulder right_elbow"
        " right_wrist right_hand left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot"
        " spine_shoulder left_hand_tip left_thumb right_hand_tip right_thumb",
        _pairs("0-1-20-2-3 20-4-5-6-7-21 6-22 20-8-9-10-11-23 10-24 0-12-13-14-15 0-16-17-18-19"),
    ),
    "kinect20": (
        "hip_center spine shoulder_center head left_shoulder left_elbow left_wrist left_hand right_shoulder"
        " right_elbow right_wrist right_hand left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle"
        " right_foot",
        _pairs("3-2-1-0 2-4-5-6-7 2-8-9-10-11 0-12-13-14-15 0-16-17-18-19"),
    ),
    "msr20": (
        "left_shoulder right_shoulder shoulder_center spine left_hip right_hip hip_center left_elbow right_elbow"
        " left_wrist right_wrist left_hand right_hand left_knee right_knee left_ankle right_ankle left_foot right_foot"
        " head",
        _pairs("19-2-3-6 2-0-7-9-11 2-1-8-10-12 6-4-13-15-17 6-5-14-16-18"),
    ),
    "utd20": (
        "head shoulder_center spine hip_center left_shoulder left_elbow left_wrist left_hand right_shoulder"
        " right_elbow right_wrist right_hand left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle"
        " right_foot",
        _pairs("0-1-2-3 1-4-5-6-7 1-8-9-10-11 3-12-13-14-15 3-16-17-18-19"),
    ),
    "penn13": (
        "head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip right_hip left_knee"
        " right_knee left_ankle right_ankle",
        _pairs("0-1-2-0 1-3-5 2-4-6 1-7-9-11 2-8-10-12 7-8"),
    ),
    "jhmdb15": (
        "neck belly face right_shoulder left_shoulder right_hip left_hip right_elbow left_elbow right_knee left_knee"
        " right_wrist left_wrist right_ankle left_ankle",
        _pairs("2-0-1 0-3-7-11 0-4-8-12 1-5-9-13 1-6-10-14"),
    ),
    "florence15": (
        "head neck spine left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist left_hip left_knee"
        " left_ankle right_hip right_knee right_ankle",
        _pairs("0-1-2 1-3-4-5 1-6-7-8 2-9-10-11 2-12-13-14"),
    ),
    "smpl24": (
        "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot"
        " right_foot neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hand right_hand",
        _pairs(
            "0-1-4-7-10 0-2-5-8-11 0-3-6-9-12-15 9-13-16-18-20-22 9-14-17-19-21-23"
        ),
    ),
    "ui_prmd22": (
        "waist spine chest neck head head_tip left_collar left_upper_arm left_forearm left_hand right_collar"
        " right_upper_arm right_forearm right_hand left_upper_leg left_lower_leg left_foot left_toes right_upper_leg"
        " right_lower_leg right_foot right_toes",
        _pairs("0-1-2-3-4-5 2-6-7-8-9 2-10-11-12-13 0-14-15-16-17 0-18-19-20-21"),
    ),
    "body_25b": (
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle upper_neck head_top left_big_toe"
        " left_small_toe left_heel right_big_toe right_small_toe right_heel",
        _pairs("0-1-3 0-2-4 0-18 0-17 17-5-7-9 17-6-8-10 5-11-13-15-19-20 6-12-14-16-22-23 11-12 15-21 16-24"),
    ),
    "wholebody133": (
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle left_big_toe left_small_toe"
        " left_heel right_big_toe right_small_toe right_heel"
        f" {' '.join(f'face-{index}' for index in range(68))} {_hand('left')} {_hand('right')}",
        _pairs(
            "0-1-3 0-2-4 5-6 5-7-9 6-8-10 5-11 6-12 11-12 11-13-15 12-14-16 15-17 15-18 15-19 16-20 16-21 16-22"
            " 9-91-92-93-94-95 91-96-97-98-99 91-100-101-102-103 91-104-105-106-107 91-108-109-110-111"
            " 10-112-113-114-115-116 112-117-118-119-120 112-121-122-123-124 112-125-126-127-128 112-129-130-131-132"
        ),
    ),
    "mpii16": (
        "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck head_top right_wrist"
        " right_elbow right_shoulder left_shoulder left_elbow left_wrist",
        _pairs("0-1-2-6-3-4-5 6-7-8-9 7-12-11-10 7-13-14-15"),
    ),
    "posetrack17": (
        "nose head_bottom head_top left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
        _pairs("1-0-2 0-3 0-4 1-5-7-9 1-6-8-10 5-11-13-15 6-12-14-16 11-12"),
    ),
    "azure_kinect32": (
        "pelvis spine_navel spine_chest neck clavicle_left shoulder_left elbow_left wrist_left hand_left handtip_left"
        " thumb_left clavicle_right shoulder_right elbow_right wrist_right hand_right handtip_right thumb_right"
        " hip_left knee_left ankle_left foot_left hip_right knee_right ankle_right foot_right head nose eye_left"
        " ear_left eye_right ear_right",
        _pairs(
            "0-1-2-3-26-27 2-4-5-6-7-8-9 7-10 2-11-12-13-14-15-16 14-17 0-18-19-20-21 0-22-23-24-25 27-28-29 27-30-31"
        ),
    ),
    "zed34": (
        "pelvis naval_spine chest_spine neck left_clavicle left_shoulder left_elbow left_wrist left_hand left_handtip"
        " left_thumb right_clavicle right_shoulder right_elbow right_wrist right_hand right_handtip right_thumb"
        " left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot head nose left_eye"
        " left_ear right_eye right_ear left_heel right_heel",
        _pairs(
            "0-1-2-3-26-27 2-4-5-6-7-8-9 7-10 2-11-12-13-14-15-16 14-17 0-18-19-20-21 0-22-23-24-25 27-28-29 27-30-31"
            " 20-32 24-33"
        ),
    ),
    "zed38": (
        "pelvis spine_1 spine_2 spine_3 neck nose left_eye right_eye left_ear right_ear left_clavicle right_clavicle"
        " left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip right_hip left_knee"
        " right_knee left_ankle right_ankle left_big_toe right_big_toe left_small_toe right_small_toe left_heel"
        " right_heel left_hand_thumb_4 right_hand_thumb_4 left_hand_index_1 right_hand_index_1 left_hand_middle_4"
        " right_hand_middle_4 left_hand_pinky_1 right_hand_pinky_1",
        _pairs(
            "0-1-2-3-4-5 5-6-8 5-7-9 3-10-12-14-16 3-11-13-15-17 0-18-20-22-24 0-19-21-23-25 22-26 23-27 22-28 23-29"
            " 16-30 16-32 16-34 16-36 17-31 17-33 17-35 17-37"
        ),
    ),
    "apple19": (
        "nose left_eye right_eye left_ear right_ear neck left_shoulder right_shoulder left_elbow right_elbow left_wrist"
        " right_wrist root left_hip right_hip left_knee right_knee left_ankle right_ankle",
        _pairs("0-1-3 0-2-4 0-5-12 5-6-8-10 5-7-9-11 12-13-15-17 12-14-16-18"),
    ),
}  # fmt: skip

# Other names of built-in layouts, lower case without separators: of models that have these joints in this order.
SYNONYMS: dict[str, str] = {
    **dict.fromkeys(("blazepose", "blazepose33", "mediapipe", "mediapipepose", "mediapipebody"), "mediapipe33"),
    **dict.fromkeys(
        ("coco", "cocobody", "movenet", "posenet", "vitpose", "hrnet", "yolo", "yolopose", "yolov8", "yolov8pose",
         "yolo11", "yolo11pose", "ultralytics", "detectron2", "keypointrcnn"),
        "coco17",
    ),
    **dict.fromkeys(("body25", "openposebody25"), "openpose25"),
    **dict.fromkeys(("openposecoco", "openposecoco18", "body18", "zed18"), "openpose18"),
    **dict.fromkeys(("body25b", "openpose25b"), "body_25b"),
    **dict.fromkeys(("halpe", "halpebody", "bodywithfeet"), "halpe26"),
    **dict.fromkeys(("wholebody", "cocowholebody", "cocowholebody133", "coco133", "dwpose"), "wholebody133"),
    **dict.fromkeys(("h36m", "human36m", "human36m17"), "h36m17"),
    **dict.fromkeys(("ntu", "nturgbd", "kinectv2", "kinect2", "kinect25"), "ntu25"),
    **dict.fromkeys(("kinectv1", "kinect1"), "kinect20"),
    **dict.fromkeys(("k4abt", "k4a", "azurekinect", "azurekinect32"), "azure_kinect32"),
    **dict.fromkeys(("body34", "zedbody34"), "zed34"),
    **dict.fromkeys(("body38", "zedbody38"), "zed38"),
    **dict.fromkeys(("apple", "applevision", "vnhumanbodypose", "vision"), "apple19"),
    **dict.fromkeys(("mpii", "mpiihumanpose"), "mpii16"),
    **dict.fromkeys(("posetrack", "posetrack18", "posetrack2018"), "posetrack17"),
    "smpl": "smpl24",
    "penn": "penn13",
    "pennaction": "penn13",
    "jhmdb": "jhmdb15",
    "uiprmd": "ui_prmd22",
}  # fmt: skip
