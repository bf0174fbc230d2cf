"""One tidy table (`xrec.report.cells`), four faces: terminal, HTML, LaTeX, Markdown.

Whatever names hold, they come out as text; a number, an interval's end or a p value is shown whole or not at all:
columns that do not fit stand in further blocks below. Numbers are written in `numbers`, laid out in `grid` and `fit`.
"""

from xrec.report.render.grid import clean as clean
from xrec.report.render.latex import to_latex as to_latex
from xrec.report.render.markdown import escape_markdown as escape_markdown
from xrec.report.render.markdown import to_markdown as to_markdown
from xrec.report.render.numbers import cell_words as cell_words
from xrec.report.render.numbers import minus as minus
from xrec.report.render.numbers import number_words as number_words
from xrec.report.render.numbers import p_words as p_words
from xrec.report.render.page import to_html as to_html
from xrec.report.render.terminal import to_rich as to_rich
from xrec.report.render.typeset import escape_latex as escape_latex
