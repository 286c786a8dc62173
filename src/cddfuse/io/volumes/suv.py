"""Standardised uptake values by body weight (SUVbw), by the vendor-neutral rules of QIBA.

    SUVbw = activity [Bq/ml] * weight [kg] * 1000 / dose left at the scan [Bq]
    dose left = dose * 2^(-(scan - injection) / half-life)

Source: QIBA FDG-PET/CT profile, "Vendor-neutral pseudo-code for SUV calculation". What is missing
is never guessed: the refusal says what it is, without any value.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cddfuse.io.volumes.volume import Uptake

_GE, _PHILIPS = "GEMS_PETD_01", "Philips PET Private Group"
_LEAST_DOSE = 1e6  # Bq; less means another unit


class _RefusedError(Exception):
    """What is missing."""


def uptake_of(header: Any, acquired: Sequence[Any]) -> Uptake:
    """SUV per unit of the rescaled values.

    Args:
        header: of one slice of the series, with its private tags.
        acquired: headers of all slices, for their times of acquisition.
    """
    if header.get("Modality") != "PT":
        return Uptake()
    try:
        return Uptake(_factor(header, acquired), "")
    except _RefusedError as refusal:
        return Uptake(0.0, str(refusal))
    except (ValueError, TypeError, ArithmeticError, AttributeError, KeyError, IndexError):
        return Uptake(0.0, "its header is malformed")


def _factor(header: Any, acquired: Sequence[Any]) -> float:
    units = str(header.get("Units", "") or "")
    if units == "GML":
        if header.get("SUVType", "BW") not in ("BW", "", None):
            raise _RefusedError("its values are uptake by another measure than body weight")
        return 1.0
    activity = 1.0
    if units == "CNTS":
        direct, activity = (_private(header, 0x7053, _PHILIPS, place) for place in (0x00, 0x09))
        if direct > 0:
            return direct
        if activity <= 0:
            raise _RefusedError("its values are counts without a calibration")
    elif units != "BQML":
        raise _RefusedError("its unit is not Bq/ml (BQML)")
    corrections = header.get("CorrectedImage", None) or ()
    corrections = (corrections,) if isinstance(corrections, str) else corrections
    for code, correction in (("ATTN", "attenuation"), ("DECY", "decay")):
        if code not in corrections:
            raise _RefusedError(f"it is not corrected for {correction}")
    weight = _positive(header, "PatientWeight", "the weight of the patient")
    doses = header.get("RadiopharmaceuticalInformationSequence", None)
    if not doses:
        raise _RefusedError("the radiopharmaceutical is missing")
    if len(doses) > 1:
        raise _RefusedError("several radiopharmaceuticals were given")
    dose = _positive(doses[0], "RadionuclideTotalDose", "the dose")
    if dose < _LEAST_DOSE:
        raise _RefusedError("the dose is below 1 MBq, so that its unit is not Bq")
    return activity * weight * 1000 / (dose * _left(header, doses[0], acquired))


def _left(header: Any, dose: Any, acquired: Sequence[Any]) -> float:
    """Share of the dose left at the time that the values are corrected to."""
    correction = header.get("DecayCorrection", None)
    if correction == "ADMIN":
        return 1.0
    if correction != "START":
        raise _RefusedError("its decay correction is not START or ADMIN")
    half_life = _positive(dose, "RadionuclideHalfLife", "the half-life")
    scan = _scan_time(header, acquired)
    passed = (scan - _injection_time(header, dose, scan)).total_seconds()
    if not 0 <= passed <= 86400:
        raise _RefusedError("the injection is later than the scan, or more than a day before it")
    return float(2 ** (-passed / half_life))


def _scan_time(header: Any, acquired: Sequence[Any]) -> datetime:
    """Start of the scan: that of the series, unless it was set by later processing."""
    times = [_time(slice_, "Acquisition") for slice_ in acquired]
    known = [time for time in times if time is not None]
    series = _time(header, "Series")
    earliest = min(known, default=None)
    if series is not None and (earliest is None or series <= earliest):
        return series
    private = _private_text(header, 0x0009, _GE, 0x0D)
    if private:
        return _parsed(private)
    if earliest is None or len(known) < len(times):
        raise _RefusedError("the time of the scan is missing")
    return earliest


def _injection_time(header: Any, dose: Any, scan: datetime) -> datetime:
    moment = str(dose.get("RadiopharmaceuticalStartDateTime", "") or "")
    if moment:
        return _parsed(moment)
    clock = str(dose.get("RadiopharmaceuticalStartTime", "") or "")
    if not clock:
        raise _RefusedError("the time of the injection is missing")
    day = str(header.get("SeriesDate", "") or "") or scan.strftime("%Y%m%d")
    injected = _parsed(day + clock)
    return injected - timedelta(days=1) if injected > scan else injected


def _time(header: Any, kind: str) -> datetime | None:
    day, clock = (str(header.get(f"{kind}{part}", "") or "") for part in ("Date", "Time"))
    return _parsed(day + clock) if day and clock else None


def _parsed(text: str) -> datetime:
    """A time of DICOM, such as 20250102101010.500+0100; the zone is that of all times."""
    whole, _, fraction = text.strip().split("+")[0].split("-")[0].partition(".")
    pattern = {10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}[len(whole)]
    return datetime.strptime(whole, pattern) + timedelta(seconds=float(f"0.{fraction or 0}"))


def _positive(header: Any, keyword: str, name: str) -> float:
    value = float(header.get(keyword, None) or 0)
    if not 0 < value < float("inf"):
        raise _RefusedError(f"{name} is missing")
    return value


def _private(header: Any, group: int, creator: str, place: int) -> float:
    return float(_private_text(header, group, creator, place) or 0)


def _private_text(header: Any, group: int, creator: str, place: int) -> str:
    try:
        value = header.private_block(group, creator)[place].value
    except KeyError:
        return ""
    return value.decode("ascii") if isinstance(value, bytes) else str(value)
