"""The recipe of image classification. Standard library only."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from zoo.errors import UsageError
from zoo.fields import check_image_shape
from zoo.recipe import GradientRecipe


@dataclass(frozen=True, kw_only=True)
class ImageRecipe(GradientRecipe):
    """A recipe of image classification."""

    task: ClassVar[str] = "image_classification"
    preprocessing_fields: ClassVar[tuple[str, ...]] = (
        "crop",
        "train_sizes",
        "test_size",
        "test_views",
        "normalisation",
        "pixel_mean",
        "pixel_std",
        "digit_width",
        "pad",
    )
    data_fields: ClassVar[tuple[str, ...]] = (
        "validation_examples",
        "validation_cut",
        "skip_bad_images",
        "class_weights",
        "teacher",
        "temperature",
        "alpha",
    )

    loss: Literal["cross_entropy", "sigmoid_cross_entropy", "perceptron", "rbf_map"] = "cross_entropy"
    """cross_entropy: softmax cross-entropy of the logits; sigmoid_cross_entropy: one binary problem per class, summed;
    perceptron: Rosenblatt's criterion; rbf_map: LeCun's maximum a posteriori criterion for LeNet-5."""
    label_smoothing: float = 0.0
    """For cross_entropy: the part of the target that is spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: an example counts in the loss in inverse proportion to the size of its class."""
    aux_weight: float = 0.3
    """Weight of each auxiliary head's loss, for models built with aux_heads=True."""
    teacher: str | None = None
    """The export, or ensemble, whose probabilities are learned beside the labels (Hinton, Vinyals & Dean 2015): its
    path, its name or MODEL:TAG. It sees each training image without augmentation. The loss is (1 - alpha) times the
    cross-entropy of the labels plus alpha times temperature**2 times the cross-entropy of the teacher's softened
    probabilities and the model's. None: train on the labels alone."""
    temperature: float = 1.0
    """With a teacher: the logits of both are divided by this before the softmax."""
    alpha: float = 0.0
    """With a teacher: the part of its loss; 0 trains on the labels alone, 1 on the teacher's probabilities alone."""
    validation_examples: int = 0
    """Number of training examples held out for validation where the data set has no validation split."""
    validation_cut: Literal["random", "end"] = "random"
    """random: chosen by the seed; end: the last examples in the order in which the data set was published."""
    crop: Literal["none", "square", "scale", "inception"] = "none"
    """How a training image becomes the model's input. none: the whole image is resized; square: the shorter side is
    resized to train_sizes[0], then a random window of the central square is taken; scale: the shorter side is resized
    to a random size in train_sizes, then a random window is taken; inception: a random window of 8 to 100 % of the area
    with an aspect ratio of 3/4 to 4/3 is resized."""
    train_sizes: tuple[int, ...] = (256,)
    """For square and scale: the shorter side in pixels; one value, or the smallest and the largest."""
    test_size: int = 256
    """For all but none: the shorter side in evaluation and serving, where the central window is taken."""
    test_views: Literal["centre", "mirror", "mirror_shift", "ten_crops", "dense"] = "centre"
    """How a test image is scored. centre: the central window (the whole image for crop=none); mirror: the mean of the
    logits of it and its mirror image; mirror_shift: half of that, and half of the mean over the same two, shifted by a
    pixel up and left and down and right (Jordan 2024); ten_crops: the mean probability over centre, corners and their
    mirror images; dense: the mean over all positions of the model applied convolutionally to the whole image with
    shorter side test_size, and to its mirror image. An export scores mirror and mirror_shift in the same way; for
    ten_crops and dense it uses the central window."""
    normalisation: Literal["constants", "mean_image", "per_image", "gcn_zca"] = "constants"
    """constants: pixel_mean and pixel_std; mean_image: subtract the mean of the training images per pixel, then divide
    by pixel_std; per_image: each image to mean 0 and variance 1; gcn_zca: global contrast normalisation and ZCA
    whitening, as for Maxout networks."""
    pixel_mean: tuple[float, ...] = (0.0,)
    """Subtracted from the pixels, which range from 0 to 255; one value, or one per channel."""
    pixel_std: tuple[float, ...] = (255.0,)
    """Pixels are then divided by this; one value, or one per channel."""
    digit_width: int = 0
    """What is not black in an image is resized to this width in pixels, and put in the middle (Cireşan, Meier &
    Schmidhuber 2012, for MNIST); 0: images stay as they are."""
    pad: int = 0
    """Black pixels added on each side after resizing, so that 28 × 28 digits fill 32 × 32."""
    random_shift: int = 0
    """Training images are shifted by up to this number of pixels."""
    shift_fill: Literal["zeros", "reflect"] = "zeros"
    """What random_shift fills with. zeros: zeros after the mean is subtracted; reflect: the pixels on the other side of
    the edge, without the edge itself."""
    random_flip: bool = False
    """Training images are mirrored left to right with probability 1/2."""
    alternating_flip: bool = False
    """With random_flip: whether an image is mirrored is random in its first epoch only; in each epoch after it, the
    image is turned over (Jordan 2024, section 3.6)."""
    colour_noise: float = 0.0
    """Standard deviation of the weights with which the principal components of ImageNet's colours are added to training
    images; 0.1 in Krizhevsky et al. 2012, section 4.1."""
    rand_augment: int = 0
    """The number of operations of RandAugment (Cubuk et al. 2020) on each training image, such as 2."""
    rand_augment_magnitude: float = 9.0
    """The strength of RandAugment's operations, from 0 to 10."""
    random_erasing: float = 0.0
    """The probability that a rectangle of a training image is replaced by noise (Zhong et al. 2020): of 2 to 33 % of
    the area and an aspect ratio from 0.3 to 3.3, with normally distributed values after normalisation."""
    mixup: float = 0.0
    """Each training image is a weighted mean of two, with weights drawn from Beta(mixup, mixup), and its loss is that
    of both labels with the same weights (Zhang et al. 2018, who take 0.2 on ImageNet and 1 on CIFAR-10). 0: none."""
    cutmix: float = 0.0
    """A box of each training image is that of another one, with an area drawn from Beta(cutmix, cutmix), and its loss
    is that of both labels with the shares of the area (Yun et al. 2019, who take 1). 0: none."""
    adapt_images: int = 0
    """Layers of the model with a method `adapt`, such as the whitening layer of airbench94, learn from this number of
    training images before training, the first ones without augmentation. 0: none."""
    skip_bad_images: bool = False
    """For folder: skip files that cannot be decoded instead of stopping."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_input_shape()
        self._require("validation_examples", self.validation_examples >= 0, "0 or more")
        self._require("pad", self.pad >= 0, "0 or more")
        self._require("digit_width", self.digit_width >= 0, "0 or more")
        plain = self.crop == "none" and self.normalisation == "constants"
        self._require("digit_width", not self.digit_width or plain, "0 with a crop or another normalisation")
        self._require("random_shift", self.random_shift >= 0, "0 or more")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and below 1")
        unsmoothed = self.loss == "cross_entropy" or not self.label_smoothing
        self._require("label_smoothing", unsmoothed, f"0 with loss={self.loss!r}")
        self._require("aux_weight", self.aux_weight >= 0, "0 or more")
        self._require("rand_augment", self.rand_augment >= 0, "0 or more")
        self._require("rand_augment_magnitude", 0 <= self.rand_augment_magnitude <= 10, "from 0 to 10")
        self._require("random_erasing", 0 <= self.random_erasing <= 1, "from 0 to 1")
        self._require("mixup", self.mixup >= 0, "0 or more")
        self._require("cutmix", self.cutmix >= 0, "0 or more")
        self._require("cutmix", not self.mixup or not self.cutmix, "0 with mixup")
        unmixed = self.teacher is None or not (self.mixup or self.cutmix)
        self._require("teacher", unmixed, "None with mixup or cutmix")
        self._require("temperature", self.temperature > 0, "positive")
        self._require("alpha", 0 <= self.alpha <= 1, "from 0 to 1")
        self._require("alpha", self.teacher is not None or self.alpha == 0, "0 without a teacher")
        plain_loss = self.teacher is None or self.loss == "cross_entropy"
        self._require("loss", plain_loss, "'cross_entropy' with a teacher")
        self._require("colour_noise", self.colour_noise >= 0, "0 or more")
        sizes = self.train_sizes
        self._require(
            "train_sizes",
            0 < len(sizes) <= 2 and sizes[0] >= 1 and list(sizes) == sorted(sizes),
            "one size in pixels, or the smallest and the largest",
        )
        self._require("test_size", self.test_size >= 1, "at least 1")
        windows = self.test_views in ("ten_crops", "dense") and self.crop == "none"
        fitting = "'centre', 'mirror' or 'mirror_shift' with crop='none', which has no larger image to take windows of"
        self._require("test_views", not windows, fitting)
        self._require("alternating_flip", self.random_flip or not self.alternating_flip, "False without random_flip")
        self._require("adapt_images", self.adapt_images >= 0, "0 or more")
        self._require("pad", not self.pad or self.crop == "none", "0 with a crop")
        self._require("pixel_mean", len(self.pixel_mean) >= 1, "one value, or one per channel")
        positive = len(self.pixel_std) >= 1 and all(value > 0 for value in self.pixel_std)
        self._require("pixel_std", positive, "one positive value, or one per channel")

    def _check_input_shape(self) -> None:
        if "input_shape" not in self.model_args:
            return
        shape = self.model_args["input_shape"]
        what = f"{self.name}: model_args['input_shape']"
        check_image_shape(what, shape)
        if None in shape or shape[2] not in (1, 3):
            raise UsageError(
                f"{what} is {shape!r}; it must be a height, a width and 1 or 3 channels, as training needs images of "
                "one size."
            )
