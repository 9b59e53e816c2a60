# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Draw what each method does to a frozen ViT: docs/methods/pictures/*.svg, method.svg.

Run it after a change: ``python docs/methods/draw.py``. All pictures share one canvas,
one set of colours and the legend, and stay readable at the width of a phone.
"""

from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 480, 284
TOP, SIZE, PITCH = 44, 16, 20  # of a column of tokens
TUNED, PALE, FROZEN, ICE = '#2e9e6b', '#e6f5ee', '#3b6fb6', '#eef3f9'
CLASS, PATCH, INK, GREY = '#e08a2e', '#c9d1db', '#2b3440', '#66727f'
GROUPS = '#8a4fc9', '#c2410c', '#0e7490'
# What a letter of a column stands for: fill, stroke.
TOKENS = {
    'c': (CLASS, CLASS),  # class token
    'p': (TUNED, TUNED),  # a prompt that is tuned
    'q': (PALE, TUNED),  # a prompt computed from what is tuned
    'e': (PATCH, PATCH),  # a patch
    's': (PATCH, TUNED),  # a patch that is chosen
    'd': ('none', GREY),  # a place that a prompt has left
    '1': (TUNED, GROUPS[0]),
    '2': (TUNED, GROUPS[1]),
    '3': (TUNED, GROUPS[2]),
}
LEGEND = (
    ('c', 'class token', 20),
    ('p', 'tuned', 128),
    ('q', 'computed', 204),
    ('e', 'patch', 304),
    ('l', 'frozen', 380),
)


class Picture:
    """Elements of one drawing."""

    def __init__(self, note):
        self.parts = []
        self.text(WIDTH / 2, 244, note, INK, 15)
        for letter, word, x in LEGEND:
            if letter == 'l':
                self.box(x, 259, 13, 13, radius=3)
            else:
                self.token(x, 259, letter, 13)
            self.text(x + 19, 270, word, GREY, 13.5, 'start')

    def add(self, tag, text=None, **attributes):
        """Add one element; ``stroke_width`` becomes ``stroke-width``."""
        given = ''.join(f' {k.replace("_", "-")}="{v}"' for k, v in attributes.items())
        end = '/>' if text is None else f'>{escape(text)}</{tag}>'
        self.parts.append(f'<{tag}{given}{end}')

    def text(self, x, y, text, fill=INK, size=15, anchor='middle', **more):
        """Write one line."""
        more |= dict(text_anchor=anchor, fill=fill, font_size=size)
        self.add('text', text, x=x, y=y, **more)

    def bold(self, *place_and_text):
        """Write one bold line."""
        self.text(*place_and_text, font_weight='bold')

    def box(self, x, y, width, height, *lines, colour=FROZEN, radius=7, size=14):
        """Draw a box with lines of text in its middle."""
        fill = PALE if colour == TUNED else ICE
        shape = dict(x=x, y=y, width=width, height=height, rx=radius)
        self.add('rect', **shape, fill=fill, stroke=colour, stroke_width=1.4)
        for k, line in enumerate(lines):
            below = (k - (len(lines) - 1) / 2) * (size + 4) + size / 3
            middle = y + height / 2 + below
            self.bold(x + width / 2, middle, line, colour, size)

    def layer(self, x, name='1', width=70, top=36, bottom=220, y=None):
        """Draw one frozen layer."""
        self.box(x, top, width, bottom - top)
        middle = (top + bottom) / 2 + 5 if y is None else y
        self.bold(x + width / 2, middle, f'layer {name}', FROZEN, 14)

    def head(self, x=416, y=128):
        """Draw the head, which is always tuned."""
        self.box(x, y - 20, 50, 40, 'head', colour=TUNED)

    def token(self, x, y, letter, size=SIZE):
        """Draw one token."""
        fill, stroke = TOKENS[letter]
        more = dict(stroke_dasharray='3 2') if letter == 'd' else {}
        width = 3.4 if letter in '123' else 1.4
        inset = dict(x=x + 0.7, y=y + 0.7, width=size - 1.4, height=size - 1.4)
        more |= dict(fill=fill, stroke=stroke, stroke_width=width)
        self.add('rect', **inset, rx=size / 2 if letter == 'c' else 3, **more)

    def column(self, x, letters='c|ppp|eeee', y=TOP):
        """Draw tokens downwards; ``|`` is a gap, a dot an empty place."""
        for letter in letters:
            if letter in TOKENS:
                self.token(x, y, letter)
            y += 6 if letter == '|' else PITCH

    def row(self, x, y, letters):
        """Draw tokens to the right."""
        for k, letter in enumerate(letters):
            self.token(x + PITCH * k, y, letter)

    def grid(self, x, y, fills, columns=3, size=SIZE):
        """Draw an image or a map."""
        for k, fill in enumerate(fills):
            place = dict(
                x=x + k % columns * (size + 2), y=y + k // columns * (size + 2)
            )
            self.add('rect', **place, width=size, height=size, rx=2, fill=fill)

    def arrow(self, path, colour=GREY, dash=None):
        """Draw a line with a head at its end."""
        more = dict(stroke_dasharray=dash) if dash else {}
        mark = f'url(#{"tuned" if colour == TUNED else "grey"})'
        more |= dict(stroke=colour, stroke_width=1.8, fill='none', marker_end=mark)
        self.add('path', d=path, **more)

    def over(self, x, end, top=22, y=74):
        """Draw an arrow from a prompt over a layer to a prompt."""
        self.arrow(f'M{x} {y} H{x + 4} V{top} H{end - 5} V{y} H{end - 1}', TUNED)

    def to(self, x, end, y=128):
        """Draw a level arrow."""
        self.arrow(f'M{x} {y} H{end}')

    def dots(self, x, y=132):
        """Draw the layers that are left out."""
        self.text(x, y, '…', GREY, 22)

    def save(self, path):
        """Write the file."""
        marks = ''.join(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
            f'markerHeight="6" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{fill}"/>'
            '</marker>'
            for name, fill in (('tuned', TUNED), ('grey', GREY))
        )
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
            f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="Helvetica, Arial, sans-serif">',
            f'<defs>{marks}</defs>',
            f'<rect x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="10" '
            'fill="#ffffff" stroke="#d5dbe3"/>',
        )
        path.write_text('\n'.join((*head, *self.parts, '</svg>\n')), encoding='utf-8')


def three_layers(picture, first, second, last):
    """Draw a ViT of three layers with the given columns of tokens before them."""
    picture.column(20, first)
    picture.layer(44)
    picture.to(116, 140)
    picture.column(146, second)
    picture.layer(170, '2')
    picture.to(242, 256)
    picture.dots(270)
    picture.to(280, 290)
    picture.column(296, last)
    picture.layer(320, 'L')
    picture.to(392, 412)
    picture.head()


def training(picture):
    """Draw the right half of methods that differ in their start alone."""
    picture.text(120, 24, 'start, once', GREY, 14)
    picture.text(384, 24, 'training: VPT', GREY, 14)
    line = dict(stroke=GREY, stroke_dasharray='4 4')
    picture.add('path', d='M282 14 V222', **line)
    picture.column(300)
    picture.box(324, 36, 74, 184, 'layers', '1 … L')
    picture.to(400, 412)
    picture.head()


def vpt():
    """Tokens of one's own in the sequence."""
    p = Picture('VPT-shallow has prompts before the first layer only')
    p.text(166, 24, 'VPT-deep: fresh prompts before every layer', TUNED)
    three_layers(p, *['c|ppp|eeee'] * 3)
    return p


def gated():
    """Prompts enter once; gates, temperatures."""
    p = Picture('g, how much of a layer’s output prompts take, and τ are tuned')
    three_layers(p, 'c|ppp|eeee', *['c|qqq|eeee'] * 2)
    p.over(36, 146)
    p.bold(91, 17, '1 − g', TUNED, 15)
    p.bold(129, 92, 'g', TUNED, 16)
    p.over(162, 272)
    p.bold(217, 17, '1 − g', TUNED, 15)
    p.bold(254, 92, 'g', TUNED, 16)
    for x in (79, 205, 355):
        p.bold(x, 166, 'τ', TUNED, 20)
    return p


def vapt():
    """Prompts made from patches."""
    p = Picture('patches make the prompts, so they differ from image to image')
    p.column(20)
    p.layer(44)
    p.to(116, 140, 178)
    p.column(146, 'c|...|eeee')
    p.to(164, 276, 52)
    p.arrow('M164 150 H217 V128', TUNED)
    p.box(182, 68, 70, 58, 'conv', 'and MLP', colour=TUNED, size=13)
    p.arrow('M254 97 H276', TUNED)
    p.to(164, 276, 188)
    p.column(282, 'c|qqq|eeee')
    p.layer(306, '2', 66)
    p.to(374, 384)
    p.dots(397)
    p.head()
    return p


def davpt():
    """Prompts that gather classes."""
    p = Picture('each prompt pulls the classes of one k-means group')
    columns = ['c|123|eeee'] * 2
    for x, letters, name in zip((20, 146), columns, '12'):
        p.column(x, letters)
        p.layer(x + 24, name)
    p.to(116, 140)
    p.to(242, 256)
    p.bold(363, 26, 'metric loss on tokens', TUNED, 15)
    p.box(262, 36, 202, 184)
    around = (-0.85, -0.53), (0.95, -0.3), (0.26, 0.97)
    for k, (x, y) in enumerate(((318, 82), (404, 128), (318, 172))):
        for a, b in around:
            p.add('circle', cx=x + 40 * a, cy=y + 40 * b, r=5.5, fill=GROUPS[k])
            line = (x + 31 * a, y + 31 * b, x + 14 * a, y + 14 * b)
            p.arrow('M{:.1f} {:.1f} L{:.1f} {:.1f}'.format(*line))
        p.token(x - 8, y - 8, str(k + 1))
    return p


def vfpt():
    """Some prompts through a Fourier transform."""
    p = Picture('F: Fourier transform over tokens and channels, no parameters')
    for x, layer_x, name in ((20, 156, '1'), (250, 386, '2')):
        p.column(x, '.|ppp|p')
        p.box(x + 36, 66, 46, 66, 'F')
        p.to(x + 18, x + 34, 100)
        p.to(x + 84, x + 104, 100)
        p.to(x + 18, x + 104, 144)
        p.column(x + 110, 'c|qqq|p|eee')
        p.layer(layer_x, name, 66)
    p.to(224, 240)
    p.text(60, 198, 'patches', GREY, 14)
    p.to(90, 124, 193)
    return p


def bpt():
    """Low-rank prompts."""
    p = Picture('two small factors in place of the prompts, or B a whitening')
    p.box(18, 64, 40, 90, 'A', 'M × r', colour=TUNED, size=13)
    p.text(70, 114, '×', INK, 20)
    p.box(82, 88, 92, 42, 'Bᵀ', 'r × C', colour=TUNED, size=13)
    p.text(188, 114, '=', INK, 20)
    p.column(206, 'c|qqq|eeee')
    p.layer(230)
    p.to(302, 312)
    p.dots(325)
    p.layer(338, 'L', 62)
    p.to(402, 412)
    p.head()
    return p


def provpt():
    """Prompts change their layer."""
    p = Picture('a learned policy moves the idlest prompt to another layer')
    three_layers(p, 'c|dpp|eeee', 'c|pp.|eeee', 'c|ppp|p|eee')
    p.arrow('M18 78 H11 V20 H287 V78 H294', TUNED)
    return p


def spt():
    """Prompts start as patches."""
    p = Picture('prompts start as patch tokens of training images')
    p.grid(18, 100, ['#9db8d9', '#b7cbe3', '#8aa9cf'] * 3)
    p.to(74, 86)
    p.box(90, 36, 70, 184, 'layers', 'below i')
    p.to(162, 174)
    p.column(180, 'ese|sees', 50)
    for start, end in ((78, 108), (124, 128), (184, 148)):
        p.arrow(f'M198 {start} L238 {end}', TUNED)
    p.column(242, 'ppp', 100)
    return p


def vipamin():
    """Prompts start as patches that they resemble, and outside of their span."""
    p = Picture('start: mean of matching patches, and a part outside of a span')
    p.column(18, 'p', 118)
    for y in (66, 104, 180):
        p.add('path', d=f'M36 126 L66 {y}', stroke=TUNED, stroke_dasharray='3 3')
    p.column(68, 'seseees', 58)
    p.arrow('M92 126 H112', TUNED)
    p.add('path', d='M112 190 L158 150 H274 L228 190 Z', fill=ICE, stroke=FROZEN)
    p.text(193, 210, 'span of the attention', FROZEN, 13)
    p.arrow('M146 174 L214 170', TUNED)
    p.arrow('M146 174 V72', TUNED)
    p.arrow('M146 174 L212 80', INK)
    p.text(222, 165, 'mean', TUNED, 14, 'start')
    p.text(146, 64, 'orthogonal', TUNED, 14)
    p.token(214, 62, 'p')
    return p


def pae():
    """Prompts of neighbouring layers hang together."""
    p = Picture('start by frequencies; losses tie prompts of neighbouring layers')
    p.text(44, 62, 'spectrum', GREY, 13)
    p.add('rect', x=18, y=70, width=54, height=54, rx=4, fill='#44505e')
    p.add('rect', x=44, y=80, width=18, height=18, fill='none', stroke='#fff')
    p.arrow('M72 98 H92', TUNED)
    for x, name in ((98, '1'), (208, '2'), (318, '3')):
        p.column(x)
        p.layer(x + 22, name, 58)
        p.to(x + 82, x + 102)
    p.over(224, 318)
    p.bold(269, 17, 'K', TUNED, 16)
    p.arrow('M334 74 H338 V22 H414', TUNED)
    p.bold(376, 17, 'K', TUNED, 16)
    p.head(424)
    return p


def e2vpt():
    """Rows beside keys and values; pruning."""
    p = Picture('learned rows beside keys and values; idle prompts are pruned')
    p.column(20, 'c|pdp|eeee')
    p.to(40, 58)
    p.box(62, 36, 268, 184)
    p.bold(196, 28, 'attention of each layer', FROZEN, 14)
    for x, name, letters in ((84, 'Q', ''), (154, 'K', 'pp|'), (224, 'V', 'pp|')):
        p.bold(x + 24, 60, name, FROZEN, 16)
        y = 70 if letters else 116
        for letter in letters + 'lll':
            if letter == '|':
                y += 6
                continue
            fill = TUNED if letter == 'p' else '#b7cbe3'
            p.add('rect', x=x, y=y, width=48, height=14, rx=3, fill=fill)
            y += 20
    p.text(196, 206, 'softmax(QKᵀ) V', FROZEN, 15)
    p.to(332, 350)
    p.bold(380, 133, 'MLP …', FROZEN, 14)
    p.to(406, 416)
    p.head(420)
    return p


def sa2vp():
    """A second stream."""
    p = Picture('a map of prompts runs along; the streams ask each other')
    p.grid(18, 50, ['#9db8d9', '#b7cbe3', '#8aa9cf'] * 3)
    p.text(45, 122, 'image', GREY, 14)
    p.grid(18, 144, [TUNED] * 9)
    p.text(45, 216, 'prompts', TUNED, 14)
    for x, name in ((98, '1'), (198, '2'), (316, 'L')):
        p.layer(x, name, y=56)
    for x, end in ((76, 94), (170, 194), (270, 278), (300, 312)):
        p.to(x, end, 80)
        p.to(x, end, 174)
    p.dots(290, 84)
    p.dots(290, 178)
    for x, down in ((133, True), (233, False), (351, False)):
        p.box(x - 22, 104, 44, 44, '3 × 3', colour=TUNED, size=13)
        up = (f'M{x} 102 V84', f'M{x} 170 V150')
        for path in (f'M{x} 84 V102', f'M{x} 150 V170') if down else up:
            p.arrow(path, TUNED)
    p.to(388, 412, 80)
    p.head(416, 80)
    return p


def rein():
    """Patches are refined behind the layers."""
    p = Picture('no token enters a layer: patches are refined behind it')
    for x, name in ((20, '1'), (204, '2')):
        p.column(x, 'c|....|eee')
        p.layer(x + 22, name, 66)
        p.to(x + 90, x + 106, 176)
        p.box(x + 108, 152, 56, 48, 'refine', colour=TUNED, size=13)
        p.column(x + 128, 'ppp', 62)
        p.arrow(f'M{x + 136} 124 V150', TUNED)
        p.to(x + 90, x + 180, 52)
        p.to(x + 166, x + 180, 176)
    p.dots(398)
    p.head(420)
    return p


def cvpt():
    """Prompts are asked by a cross-attention."""
    p = Picture('prompts are asked, never in the sequence: it does not grow')
    p.column(20, 'c|eeee')
    p.to(40, 60, 90)
    p.box(50, 36, 356, 108)
    for x, width, lines in (
        (64, 84, ('self-', 'attention')),
        (182, 84, ('cross-', 'attention')),
        (312, 76, ('MLP',)),
    ):
        p.box(x, 66, width, 48, *lines)
    p.to(150, 180, 90)
    p.text(289, 96, '+', FROZEN, 22)
    p.to(268, 278, 90)
    p.to(300, 310, 90)
    p.arrow('M158 90 V54 H289 V74')
    p.row(196, 180, 'ppp')
    p.arrow('M224 178 V118', TUNED)
    p.text(234, 168, 'keys and values', TUNED, 14, 'start')
    p.bold(388, 138, 'each layer', FROZEN, 14, 'end')
    p.to(390, 414, 90)
    p.head(418, 90)
    return p


def baselines():
    """What else can be tuned."""
    p = Picture('no prompts; full tunes everything')
    for x, name in ((20, '1'), (146, '2')):
        p.column(x, 'c|eeeeee')
        p.layer(x + 24, name, y=60)
        p.box(x + 32, 76, 54, 30, 'bias', colour=TUNED, size=13)
        p.box(x + 32, 116, 54, 92, 'LoRA,', 'Adapter+,', 'SSF', colour=TUNED, size=11)
    p.to(116, 140)
    p.to(242, 256)
    p.dots(270)
    p.to(280, 290)
    p.column(296, 'c|eeeeee')
    p.box(320, 36, 70, 184, 'layer L', 'partial', colour=TUNED)
    p.to(392, 408)
    p.box(412, 100, 56, 56, 'linear,', 'MLP', colour=TUNED, size=13)
    return p


def method():
    """The first picture of the README."""
    p = Picture('only what is green trains: often far below 1 % of the parameters')
    p.grid(14, 100, ['#9db8d9', '#b7cbe3', '#8aa9cf'] * 3)
    p.text(41, 172, 'image', GREY, 14)
    p.to(70, 82)
    for x, name in ((86, '1'), (188, '2'), (306, 'L')):
        p.column(x)
        p.layer(x + 22, name, 60)
    p.text(198, 24, 'prompts, fresh before every layer', TUNED)
    p.to(170, 183)
    p.dots(287)
    p.to(390, 410)
    p.head(414)
    return p


ONLY_START = (spt, vipamin)
METHODS = (
    *(vpt, gated, vapt, davpt, vfpt, bpt, provpt, spt),
    *(vipamin, pae, e2vpt, sa2vp, rein, cvpt, baselines),
)


DOCS = Path(__file__).resolve().parents[1]


def main(folder=DOCS):
    """Write every picture below ``folder``, that of the documentation."""
    method().save(folder / 'method.svg')
    pictures = folder / 'methods/pictures'
    pictures.mkdir(parents=True, exist_ok=True)
    for draw in METHODS:
        picture = draw()
        if draw in ONLY_START:
            training(picture)
        picture.save(pictures / f'{draw.__name__}.svg')


if __name__ == '__main__':
    main()
