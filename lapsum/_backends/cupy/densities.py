"""Functions of other densities that CuPy's arrays have not, as the device has them."""

from __future__ import annotations

from ..types import Floats
from .launch import elementwise

ERF = elementwise("erf", "float64 t", "float64 out", "out = erf(t);")
ERFC = elementwise("erfc", "float64 t", "float64 out", "out = erfc(t);")
ERFCX = elementwise("erfcx", "float64 t", "float64 out", "out = erfcx(t);")

STUDENT_TAIL = elementwise(
    "student_tail",
    "float64 t, float64 log_pdf, float64 df",
    "float64 tail",
    """
    bool outside;
    const double part = lap_student(t, df, outside);
    // Far out f is less than F, and underflows before it.
    tail = isinf(t) ? 0.0 : outside ? exp(log_pdf + log(part)) : 0.5 - part * exp(log_pdf);
    """,
)

STUDENT_CENTRE = elementwise(
    "student_centre",
    "float64 t, float64 log_pdf, float64 df",
    "float64 centre",
    """
    bool outside = true;
    const double part = isinf(t) ? 0.0 : lap_student(t, df, outside) * exp(log_pdf);
    centre = outside ? 0.5 - part : part;
    """,
)

STUDENT_DISTANCE = elementwise(
    "student_distance",
    "float64 q, float64 df, float64 log_top",
    "float64 t",
    """
    double low = -25.0, high = 345.0;
    for (int m = 0; m < 26; ++m) {
        const double middle = 0.5 * (low + high);
        bool outside;
        const double s = exp(middle) / sqrt(df), part = lap_student(exp(middle), df, outside);
        const double square = s > 1e9 ? 2.0 * log(s) : log1p(s * s);
        const double log_part = log(part) + log_top - 0.5 * (df + 1.0) * square;
        const bool short_of_it =
            outside ? log_part > log(q) : 0.5 - exp(log_part) > q;
        low = short_of_it ? middle : low;
        high = short_of_it ? high : middle;
    }
    t = exp(0.5 * (low + high));
    """,
)


class Densities:
    """The kernels of `protocol.Densities`, but for sums by tables."""

    def erf(self, t: Floats) -> Floats:
        """Return the error function of t."""
        out: Floats = ERF(t)
        return out

    def erfc(self, t: Floats) -> Floats:
        """1 - erf(t)."""
        out: Floats = ERFC(t)
        return out

    def erfcx(self, t: Floats) -> Floats:
        """e^{t^2} erfc(t)."""
        out: Floats = ERFCX(t)
        return out

    def student_tail(self, df: float, t: Floats, log_pdf: Floats) -> Floats:
        """F(-t) of Student's t."""
        out: Floats = STUDENT_TAIL(t, log_pdf, df)
        return out

    def student_centre(self, df: float, t: Floats, log_pdf: Floats) -> Floats:
        """F(t) - 1/2 of Student's t."""
        out: Floats = STUDENT_CENTRE(t, log_pdf, df)
        return out

    def student_distance(self, df: float, q: Floats, log_top: float) -> Floats:
        """Return about the t at which F(-t) = q of Student's t, by halving the range of log t."""
        out: Floats = STUDENT_DISTANCE(q, df, log_top)
        return out
