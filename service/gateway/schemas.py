"""The shapes of requests and answers, for the OpenAPI document. Bodies are read by faster and stricter code."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Scope = Literal["predict", "tune", "manage"]
State = Literal["queued", "running", "publishing", "succeeded", "failed", "cancelled"]
Label = Annotated[str, Field(min_length=1, max_length=128)]
Cursor = Annotated[str | None, Field(description="Pass it as `after` to get the next items; null at the end.")]


class ErrorRow(BaseModel):
    """One thing that is wrong, and where."""

    loc: str = Field(description="The place, such as `clips[3].keypoints[12][4]`.")
    rule: str = Field(description="A stable snake_case word.")
    message: str


class Problem(BaseModel):
    """RFC 9457: every error has this shape."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="A stable snake_case word; see the error codes of the API page.")
    errors: list[ErrorRow] = Field(description="The first 100 problems.")
    errors_total: int | None = Field(None, description="How many problems there are, where there are any.")
    request_id: str


class CustomLayout(BaseModel):
    """A layout by the names of its joints."""

    joints: list[str] = Field(min_length=2, max_length=256)


class Segment(BaseModel):
    """A labelled part of a long recording, in seconds; a null label is background."""

    label: Label | None
    start: float = Field(ge=0)
    end: float = Field(gt=0)


class Clip(BaseModel):
    """A skeleton clip."""

    model_config = ConfigDict(extra="allow")

    layout: str | CustomLayout
    keypoints: list[Any] | str = Field(
        description="(T, J, C) or (T, P, J, C) as nested lists, null where not seen; or base64 with `encoding`."
    )
    fps: float = Field(30, ge=0.1, le=1000)
    coords: Literal["xy", "xyc", "xyz", "xyzc", "yx", "yxc"] | None = None
    y_axis: Literal["down", "up"] | None = None
    encoding: Literal["f32"] | None = None
    shape: list[int] | None = Field(None, description="With `encoding`: [T, J, C] or [T, P, J, C].")
    image_size: list[float] | None = Field(None, min_length=2, max_length=2)
    units: Literal["px", "fraction", "m", "mm", "cm", "normalized"] | None = Field(
        None, description="Unit of the coordinates; `fraction`: of the picture's width and height."
    )
    up_axis: Literal["x", "y", "z", "-x", "-y", "-z"] | None = Field(None, description="3-D: the axis that points up.")
    handedness: Literal["right", "left"] | None = Field(None, description="3-D: of the axes; `right` by default.")
    mirrored: bool | None = Field(None, description="The picture was flipped before the joints were found in it.")
    timestamps: list[float] | None = Field(
        None, description="Seconds, increasing, one a frame, instead of `fps`; uneven ones are resampled."
    )
    track_ids: list[list[int | str | None] | None] | None = Field(
        None, description="With people: for each frame one id for each person of it."
    )
    confidence_scale: Literal["unit", "coco", "kinect", "percent"] | None = Field(
        None, description="0 to 1 (default), COCO's visibility 0/1/2, Kinect's tracking state 0/1/2, 0 to 100."
    )
    id: str | None = Field(None, min_length=1, max_length=128)
    group: str | None = Field(None, min_length=1, max_length=128)


class LabelledClip(Clip):
    """A clip to learn from: with a label (null: background) or with segments."""

    label: Label | None = None
    segments: list[Segment] | None = None


class PredictOptions(BaseModel):
    """How to predict."""

    top_k: int = Field(5, ge=1, le=50)
    version: int | None = Field(None, ge=1, description="A prompt version; the active one by default.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Least probability that counts as known; moves every other limit with it."
    )
    refusal: float | None = Field(
        None, ge=0, le=0.5, description="Share of right answers that may be refused; the version's by default."
    )
    coverage: float | None = Field(None, ge=0.5, le=0.99, description="Nominal coverage of a prediction set to give.")
    tenant: str | None = Field(None, description="Whose prompt; for the admin key only.")


class PredictRequest(Clip, PredictOptions):
    """A clip and options."""


class SegmentsRequest(PredictRequest):
    """A long clip of one person."""

    window: float = Field(2.0, ge=0.5, le=10, description="Seconds that are looked at together.")
    stride: float | None = Field(None, ge=0.1, le=10, description="Seconds from window to window; half a window.")


class BatchRequest(PredictOptions):
    """Clips and the options for all of them."""

    clips: list[Clip] = Field(min_length=1, max_length=256)


class Ranked(BaseModel):
    """A label and its probability."""

    label: str
    probability: float


class PredictionSet(BaseModel):
    """Labels that together hold the right one with a nominal probability."""

    labels: list[str]
    coverage: float


class Person(BaseModel):
    """The answer for one person."""

    label: str | None
    known: bool
    confidence: float
    predictions: list[Ranked]
    reason: str | None = Field(
        None, description="Why it is not known: too_little_visible, background, below_threshold, unlike_taught."
    )
    explanation: str | None = Field(None, description="The reason in words.")
    margin: float = Field(description="Probability of the best label less that of the next.")
    familiarity: float | None = Field(
        None, description="How much the clip is like the taught ones; about 1 for a clip of a taught label."
    )
    limits: dict[str, float] = Field(description="What the answer was held to, by name.")
    set: PredictionSet | None = Field(None, description="The prediction set, where `coverage` asks for one.")


class Finding(BaseModel):
    """Something that was assumed, mended or looks wrong."""

    code: str = Field(description="A stable snake_case word; see the page on clips.")
    message: str
    field: str | None = Field(description="The field of the clip that would settle it.")


class Quality(BaseModel):
    """What was done to the clip."""

    model_config = ConfigDict(extra="allow")

    joints_missing: float
    missing_joints: list[str] = Field(description="Joints of the limbs that the layout does not have.")
    ignored_joints: list[str] = Field(description="Joints of the layout that the model does not use.")
    frames_without_person: int
    gaps_filled: int
    frames_resampled: int
    notes: list[Finding] = Field(description="What was assumed or mended.")
    warnings: list[Finding] = Field(description="What looks wrong.")


class Prediction(Person):
    """The answer for a clip; the top level repeats the person with the most visible motion."""

    tenant: str
    version: int
    sha256: str
    people: list[Person]
    quality: Quality
    request_id: str


class BatchAnswer(BaseModel):
    """One row per clip, in order: a prediction, or the problem with that clip."""

    results: list[Prediction | Problem]
    request_id: str


class TimelinePart(BaseModel):
    """A stretch of a recording in which one action was seen."""

    label: str
    start: float
    end: float
    confidence: float


class Timeline(BaseModel):
    """What happens when in a long clip."""

    tenant: str
    version: int
    sha256: str
    segments: list[TimelinePart]
    quality: Quality
    request_id: str


class TuneOptions(BaseModel):
    """How to tune."""

    activate: Literal["if_better", "always", "never"] = "if_better"
    dry_run: bool = False
    base_version: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=0, le=2**32 - 1)
    max_seconds: float | None = Field(None, gt=0)
    refusal: float | None = Field(
        None, ge=0, le=0.5, description="Share of right answers that the version may refuse; 0.05 by default."
    )
    include_stored: bool = False


class TuneRequest(BaseModel):
    """Clips to learn from, or the stored ones."""

    clips: list[LabelledClip] | None = None
    stored: bool = False
    include_stored: bool = False
    options: TuneOptions | None = None


class Skipped(BaseModel):
    """A clip that teaches nothing."""

    clip: str
    reason: str


class ClipFinding(Finding):
    """A finding about one or several clips."""

    clips: list[str] = Field(description="Their places, such as `clips[3]`; the first 20.")
    clips_total: int


class DryRun(BaseModel):
    """What tuning would make of the clips."""

    valid: bool
    clips: int
    labels: dict[str, int]
    background: int
    skipped: list[Skipped]
    warnings: list[ClipFinding] = Field(description="What looks wrong; the first 100.")
    notes: list[ClipFinding] = Field(description="What was assumed or mended: each kind once, with its first clips.")
    errors: list[ErrorRow]
    errors_total: int


class Job(BaseModel):
    """A tuning job."""

    job: str
    tenant: str
    kind: Literal["tune", "new_backbone"]
    state: State
    progress: float
    step: str | None
    message: str | None
    attempt: int
    queue_position: int | None
    eta_seconds: float | None
    clips: int
    skipped: list[Skipped]
    options: dict[str, Any]
    cancel_requested: bool
    created: str
    started: str | None
    finished: str | None
    error: Any
    first_version: int | None
    version: int | None
    activated: bool
    reason: str | None


class JobEvent(BaseModel):
    """Something that happened to a job."""

    id: int
    time: str
    state: State
    progress: float
    step: str | None
    message: str | None


class PromptVersion(BaseModel):
    """One immutable version of what a tenant taught."""

    version: int
    active: bool
    labels: list[str]
    sha256: str
    backbone_sha256: str
    parameters: int
    bytes: int
    created: str
    metrics: dict[str, Any]
    job: str | None


class NewKey(BaseModel):
    """What a new key may do."""

    scopes: list[Scope] = Field(["predict", "tune", "manage"], min_length=1)


class Key(BaseModel):
    """A key, without its secret."""

    id: str
    scopes: list[Scope]
    created: str


class KeyWithSecret(Key):
    """A new key; the secret is shown this once."""

    secret: str | None


class NewTenant(BaseModel):
    """A tenant to be."""

    id: str = Field(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")
    name: str | None = Field(None, min_length=1, max_length=128)


class Tenant(BaseModel):
    """A tenant."""

    id: str
    name: str | None
    created: str


class TenantWithKey(Tenant):
    """A new tenant with its first key."""

    key: KeyWithSecret


class Receipt(BaseModel):
    """What an erasure erased."""

    model_config = ConfigDict(extra="allow")


class ClipRecord(BaseModel):
    """A stored clip, without its keypoints."""

    id: str
    client_id: str | None
    label: str | None
    background: bool
    group: str | None
    layout: str
    frames: int
    people: int
    fps: float
    bytes: int
    created: str
    source: str


class StoredClip(ClipRecord):
    """A stored clip with its keypoints."""

    clip: dict[str, Any]


class NewClips(BaseModel):
    """Clips to store for a later tuning."""

    clips: list[LabelledClip] = Field(min_length=1)


class ClipIds(BaseModel):
    """Clips that were stored."""

    ids: list[str]
    skipped: list[Skipped]


class Feedback(BaseModel):
    """A correction: the right label for a clip, or for the clip of a recent request."""

    label: Label | None
    clip: Clip | None = None
    request_id: str | None = None
    row: int | None = Field(None, ge=0, description="With the request id of a batch: which of its clips.")


class FeedbackAnswer(BaseModel):
    """The stored correction."""

    id: str
    label: str | None


class UsageDay(BaseModel):
    """What was used on a day."""

    day: str
    predictions: int
    tuning_seconds: float
    stored_bytes: int


class LayoutSummary(BaseModel):
    """A layout."""

    name: str
    joints: list[str]
    edges: list[list[int]]


class LayoutDetail(LayoutSummary):
    """A layout, drawn."""

    svg: str


class Status(BaseModel):
    """Whether something works."""

    status: str


def page(item: type[BaseModel]) -> type[BaseModel]:
    """The schema of a page of items."""
    from pydantic import create_model

    name = f"{item.__name__}Page"
    items = list[item]  # type: ignore[valid-type]
    return create_model(name, __doc__="A page of a list.", items=(items, ...), next=(Cursor, None))
