"""Facts of each data set as data: where it is, how large, under what licence, what its publication counts.

None stands for what is not known with certainty. `checked` says what the facts rest on: they were read in November 2026
in published scripts, papers and tables. No address was opened, so a link may be dead without being marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mulde.errors import UsageError


@dataclass(frozen=True)
class Download:
    """A file that can be had without asking anybody. `checksum` is "md5:..." or "sha256:..." of the file."""

    address: str
    size_bytes: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Facts:
    """A data set by the name it is opened with. Frames and videos are those of its publication.

    `link` is "direct" (the files of `downloads`), "by hand" (a page, form or cloud drive: `how` says what to do) or
    "none" (nothing to obtain). `unpacks_to` is what unpacking makes. `one_size_hw` is given where all frames are of one
    size, `exact` where a whole copy has exactly these numbers of frames, however it is decoded.
    """

    name: str
    title: str
    address: str
    link: str
    how: str
    licence: str
    citation: str
    checked: str
    size_bytes: int | None = None
    dead_link: str | None = None
    downloads: tuple[Download, ...] = ()
    num_train_videos: int | None = None
    num_test_videos: int | None = None
    num_train_frames: int | None = None
    num_test_frames: int | None = None
    one_size_hw: tuple[int, int] | None = None
    exact: bool = False
    unpacks_to: str = ""


_UCSD = Download(
    "http://www.svcl.ucsd.edu/projects/anomaly/UCSD_Anomaly_Dataset.tar.gz",
    740_306_953,
    "md5:5006421b89885f45a6f93b041145f2eb",
)
_AVENUE = "http://www.cse.cuhk.edu.hk/leojia/projects/detectabnormal"
_AVENUE_VIDEOS = Download(f"{_AVENUE}/Avenue_Dataset.zip", None, "md5:b7a34b212ecdd30efbd989a6dcb1aceb")
_AVENUE_MASKS = Download(f"{_AVENUE}/ground_truth_demo.zip", None, "md5:e8e3bff99195b6b511534083b9dbe1f5")
_STREET_SCENE = Download(
    "https://zenodo.org/records/10870472/files/StreetScene.zip?download=1",
    None,
    "md5:a74c51e99881c860d97e1ebb51ee1f2c",
)

_PED2 = Facts(
    name="ucsd-ped2",
    title="UCSD Ped2",
    address="http://www.svcl.ucsd.edu/projects/anomaly/dataset.htm",
    link="direct",
    how="One archive holds Ped1 and Ped2. Where the server does not answer, compare the MD5 of a copy from elsewhere.",
    licence="none stated; research use, cite the paper",
    citation="Mahadevan, Li, Bhalodia, Vasconcelos, Anomaly Detection in Crowded Scenes, CVPR 2010",
    checked="address, size and MD5 in several published scripts; counts of Ped2 on a copy, of Ped1 in a table",
    size_bytes=_UCSD.size_bytes,
    downloads=(_UCSD,),
    num_train_videos=16,
    num_test_videos=12,
    num_train_frames=2_550,
    num_test_frames=2_010,
    one_size_hw=(240, 360),
    exact=True,
    unpacks_to="UCSD_Anomaly_Dataset.v1p2/ with UCSDped1/ and UCSDped2/, and in each Train/ and Test/",
)
_PED1 = replace(
    _PED2,
    name="ucsd-ped1",
    title="UCSD Ped1",
    num_train_videos=34,
    num_test_videos=36,
    num_train_frames=6_800,
    num_test_frames=7_200,
    one_size_hw=(158, 238),
)
_AVENUE_BY_MASKS = Facts(
    name="avenue-masks",
    title="CUHK Avenue, labels from its pixel masks (3,712 anomalous frames)",
    address=f"{_AVENUE}/dataset.html",
    link="direct",
    how="Two archives: the videos, and the masks in ground_truth_demo.zip.",
    licence="non-commercial use (as its files say)",
    citation="Lu, Shi, Jia, Abnormal Event Detection at 150 FPS in MATLAB, ICCV 2013",
    checked="addresses in published scripts, MD5 in anomalib's loader, counts in published tables",
    downloads=(_AVENUE_VIDEOS, _AVENUE_MASKS),
    num_train_videos=16,
    num_test_videos=21,
    num_train_frames=15_328,
    num_test_frames=15_324,
    one_size_hw=(360, 640),
    unpacks_to="Avenue Dataset/ with training_videos/ and testing_videos/; ground_truth_demo/ with testing_label_mask/",
)
_AVENUE_BY_INTERVALS = replace(
    _AVENUE_BY_MASKS,
    name="avenue-intervals",
    title="CUHK Avenue, labels from the intervals in avenue.mat (3,867 anomalous frames)",
    link="by hand",
    how="Get the videos with `mulde data get avenue-masks`. avenue.mat is in the data that the code of Liu et al. links"
    " to, https://github.com/StevenLiuWen/ano_pred_cvpr2018; its cloud links come and go. Put it into Avenue Dataset/,"
    " or beside it.",
    downloads=(),
    unpacks_to="Avenue Dataset/ with training_videos/ and testing_videos/",
)
_SHANGHAITECH = Facts(
    name="shanghaitech",
    title="ShanghaiTech Campus",
    address="https://svip-lab.github.io/dataset/campus_dataset.html",
    link="by hand",
    how="Download shanghaitech.tar.gz in parts from the cloud drives on that page, join them with cat, unpack. The"
    " whole file has SHA-256 c13a827043b259ccf8493c9d9130486872992153a9d714fe229e523cd4c94116.",
    licence="see the page (BSD 2-Clause according to anomalib)",
    citation="Liu, Luo, Lian, Gao, Future Frame Prediction for Anomaly Detection - A New Baseline, CVPR 2018",
    checked="address and counts in published scripts and tables (which also give 42,883 test frames, more than"
    " there are labels); the dead link in issue 1991 of anomalib (April 2024)",
    dead_link="http://101.32.75.151:8181/dataset/shanghaitech.tar.gz",
    num_train_videos=330,
    num_test_videos=107,
    num_train_frames=274_515,
    num_test_frames=40_791,
    one_size_hw=(480, 856),
    unpacks_to="shanghaitech/ with training/videos/, testing/frames/, testing/test_frame_mask/ and test_pixel_mask/",
)
_UBNORMAL = Facts(
    name="ubnormal",
    title="UBnormal",
    address="https://github.com/lilygeorgescu/UBnormal",
    link="by hand",
    how="Follow the Google Drive link in that README, unpack, and put the scripts folder of the repository, which holds"
    " the split lists, into UBnormal/ or beside it.",
    licence="CC BY-NC-ND 4.0",
    citation="Acsintoae et al., UBnormal: New Benchmark for Supervised Open-Set Video Anomaly Detection, CVPR 2022",
    checked="a stored version of the README; of 268 training videos the one-class protocol takes the normal ones",
    unpacks_to="UBnormal/ with Scene1/ to Scene29/",
)
_UCF_CRIME = Facts(
    name="ucf-crime",
    title="UCF-Crime, one-class protocol (normal training videos only)",
    address="https://www.crcv.ucf.edu/projects/real-world/",
    link="by hand",
    how="Download the videos from that page (one archive, or parts on Dropbox), and Anomaly_Train.txt (that of the one"
    " archive lacks the normal videos) and Temporal_Anomaly_Annotation.txt from"
    " https://github.com/WaqasSultani/AnomalyDetectionCVPR2018; put these two beside the folders of the videos.",
    licence="none stated; see the page",
    citation="Sultani, Chen, Shah, Real-World Anomaly Detection in Surveillance Videos, CVPR 2018",
    checked="addresses, size and folders in published notes and issues of that repository; the split was not checked",
    size_bytes=96_000_000_000,
    num_train_videos=800,
    num_test_videos=290,
    unpacks_to="UCF_Crimes/ with Videos/ and Anomaly_Detection_splits/; in parts Anomaly-Videos-Part-1/ to 4/,"
    " Training-Normal-Videos-Part-1/ and 2/, Testing_Normal_Videos_Anomaly/ side by side",
)
_STREET = Facts(
    name="street-scene",
    title="Street Scene",
    address="https://zenodo.org/records/10870472",
    link="direct",
    how="One archive at Zenodo.",
    licence="CC BY-SA 4.0",
    citation="Ramachandra, Jones, Street Scene: A New Dataset and Evaluation Protocol for Video Anomaly Detection,"
    " WACV 2020",
    checked="address, size and MD5 of the Zenodo record in published notes; counts in a published table, another source"
    " gives 202,545 frames in all",
    size_bytes=48_980_000_000,
    downloads=(_STREET_SCENE,),
    num_train_videos=46,
    num_test_videos=35,
    num_train_frames=56_847,
    num_test_frames=146_410,
    one_size_hw=(720, 1280),
    unpacks_to="StreetScene/ with Train/ and Test/",
)
_NWPU = Facts(
    name="nwpu-campus",
    title="NWPU Campus",
    address="https://campusvad.github.io/",
    link="by hand",
    how="Follow the page to its archive volumes on a cloud drive, compare the MD5 given there, unpack.",
    licence="see the page (research use)",
    citation="Cao, Lu, Wang, Zhang, A New Comprehensive Benchmark for Semi-supervised Video Anomaly Detection and"
    " Anticipation, CVPR 2023",
    checked="address, size and counts in published tables",
    size_bytes=76_600_000_000,
    num_train_videos=305,
    num_test_videos=242,
    num_train_frames=1_082_014,
    num_test_frames=384_059,
    unpacks_to="NWPUCampusDataset/ with videos/Train/, videos/Test/ and groundtruth/",
)
_MVTEC = Facts(
    name="mvtec-ad",
    title="MVTec AD, images as videos of one frame",
    address="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    link="by hand",
    how="Fill in the form on that page and accept the licence.",
    licence="CC BY-NC-SA 4.0",
    citation="Bergmann, Fauser, Sattlegger, Steger, MVTec AD - A Comprehensive Real-World Dataset for Unsupervised"
    " Anomaly Detection, CVPR 2019",
    checked="licence, size and the sum of the counts on cards of copies; the dead link in issues 3121, 3441 and 3608 of"
    " anomalib",
    size_bytes=5_260_000_000,
    dead_link="https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/download/420938113-1629952094/"
    "mvtec_anomaly_detection.tar.xz",
    num_train_videos=3_629,
    num_test_videos=1_725,
    num_train_frames=3_629,
    num_test_frames=1_725,
    unpacks_to="mvtec_anomaly_detection/ with a folder for each category, each with train/, test/ and ground_truth/",
)
_FOLDER = Facts(
    name="folder",
    title="Own footage",
    address="",
    link="none",
    how="Put normal videos or frame folders into train/, others into test/, and labels beside them if there are any:"
    " labels.csv, labels/, masks/ or tracks.json.",
    licence="yours",
    citation="",
    checked="part of mulde",
)
_SYNTHETIC = replace(
    _FOLDER,
    name="synthetic",
    title="A small drawn world with known anomalies",
    how="`mulde demo` writes one.",
    licence="Apache-2.0",
)

BENCHMARKS: Mapping[str, Facts] = {
    one.name: one
    for one in (
        _PED1,
        _PED2,
        _AVENUE_BY_MASKS,
        _AVENUE_BY_INTERVALS,
        _SHANGHAITECH,
        _UBNORMAL,
        _UCF_CRIME,
        _STREET,
        _NWPU,
        _MVTEC,
        _FOLDER,
        _SYNTHETIC,
    )
}


def facts(name: str) -> Facts:
    """The facts of one data set. Raises UsageError for an unknown name."""
    if name not in BENCHMARKS:
        raise UsageError("name of a data set", expected=f"one of {', '.join(BENCHMARKS)}", got=repr(name))
    return BENCHMARKS[name]
