# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import pytest

from mmvpt.datasets.own import read_names, read_table
from mmvpt.errors import UserError
from tests.datasets.own.pictures import class_folders


@pytest.fixture
def table(tmp_path):
    class_folders(tmp_path, a=2, b=2)

    def write(text):
        path = tmp_path / 'labels.csv'
        path.write_text(text, encoding='utf-8')
        return path

    return write


@pytest.mark.parametrize('delimiter', [',', ';', '\t'])
def test_lines(table, delimiter):
    path = table(
        '\ufeffID,Filename,Class\n1,a/0.png,rose\n\n2,./b/1.png,"tulip, red"\n'
    )
    text = path.read_text(encoding='utf-8')
    if delimiter != ',':
        text = text.replace(',', delimiter).replace(f'p{delimiter} r', 'p, r')
    found = read_table(table(text))
    assert [(i.path, i.label, i.split) for i in found.images][0] == (
        *('a/0.png', 'rose', None),
    )
    assert found.images[1].path == 'b/1.png'
    assert found.images[1].label.startswith('tulip')


def test_split_column_and_root(table, tmp_path):
    text = 'image,label,split\n0.png,x,train\n1.png,x,Test\n'
    found = read_table(table(text), tmp_path / 'a')
    assert [image.split for image in found.images] == ['train', 'test']
    with pytest.raises(UserError, match="line 3: split must be .* got 'tost'"):
        read_table(table(text.replace('Test', 'tost')), tmp_path / 'a')
    text = text.replace('x,Test', 'y,Test')
    with pytest.raises(UserError, match=r'without training images(.|\n)*line 3'):
        read_table(table(text), tmp_path / 'a')


def test_columns_by_option(table):
    path = table('what,where\nx,a/0.png\n')
    found = read_table(path, image_column='where', label_column='what')
    assert found.images[0][:2] == ('a/0.png', 'x')
    with pytest.raises(UserError, match="no column 'wo'; the header is what, where"):
        read_table(path, image_column='wo')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'is empty'),
        ('a/0.png,rose\n', 'first line must name the columns.*a/0.png,rose'),
        ('image,path,label\n', '2 columns for the image'),
        ('image,label\n', 'no line below'),
        ('image,label\na/0.png\n', 'line 2: 1 columns, but the header has 2'),
        ('image,label\na/0.png,\n', 'line 2: image or class is empty'),
        ('image,label\na/0.png,x\na//0.png,y\n', 'line 3: .*listed before.*line 2'),
        ('image,label\na/0.png,x\na/9.png,x\n', r'1 of 2 images do not(.|\n)*line 3'),
    ],
)
def test_refusals(table, text, message):
    with pytest.raises(UserError, match=message):
        read_table(table(text))


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        read_table(tmp_path / 'no.csv')
    (tmp_path / 'x.csv').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(UserError, match='not UTF-8'):
        read_table(tmp_path / 'x.csv')


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_encodings_with_a_mark(table, encoding):
    path = table('')
    path.write_bytes('image,label\na/0.png,sch\u00f6n\nb/1.png,x\n'.encode(encoding))
    assert list(read_table(path).by_label()) == ['sch\u00f6n', 'x']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('image,label\na/0.png,sch\u00f6n\n'.encode('cp1252'), 'not UTF-8.*1252'),
        ('image,label\na/0.png,x\n'.encode('utf-16-le'), 'zero bytes.*UTF-16'),
    ],
)
def test_other_encodings(table, content, message):
    path = table('')
    path.write_bytes(content)
    with pytest.raises(UserError, match=f'labels.csv.*{message}'):
        read_table(path)


def test_line_breaks_in_cells(table):
    with pytest.raises(UserError, match=r"labels.csv, line 3: 'bee\\nfly'.*line break"):
        read_table(table('image,label\na/0.png,ant\nb/1.png,"bee\nfly"\n'))
    text = 'image,label,note\na/0.png,ant,"two\nlines"\nb/1.png,bee,\u2028\n'
    found = read_table(table(text))
    assert [image.where[-6:] for image in found.images] == ['line 2', 'line 4']


def test_files_of_names(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_text('ground\nroad\n', encoding='utf-16')
    assert read_names(path) == ['ground', 'road']
    for content, message in (
        (b'', 'is empty'),
        (b'\n \n', 'is empty'),
        (b'a\0', 'zero'),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f'names.txt {message}|names.txt holds'):
            read_names(path)
