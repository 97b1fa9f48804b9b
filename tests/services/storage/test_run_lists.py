"""Files of certified runs."""

from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigError
from services.storage.run_lists import read_good_runs

GRL = """<?xml version="1.0"?>
<!DOCTYPE LumiRangeCollection SYSTEM "http://atlas-runquery.cern.ch/LumiRangeCollection.dtd">
<LumiRangeCollection>
  <NamedLumiRange>
    <Name>Top_allchannels</Name>
    <LumiBlockCollection>
      <Run PrescaleRLB="1.0">276262</Run>
      <LBRange Start="51" End="143"/>
      <LBRange Start="145" End="249"/>
    </LumiBlockCollection>
    <LumiBlockCollection>
      <Run>276329</Run>
      <LBRange Start="652" End="721"/>
    </LumiBlockCollection>
  </NamedLumiRange>
</LumiRangeCollection>
"""


def good(folder: Path, *events: tuple[int, int], **lists: str) -> list[bool]:
    for name, text in lists.items():
        (folder / name).write_text(text)
    run, lumi = np.array(events, dtype=np.uint32).T
    table = read_good_runs(tuple(str(folder / name) for name in lists))
    found: list[bool] = table.contain(run, lumi).tolist()
    return found


def test_a_golden_json_file_is_read(tmp_path: Path) -> None:
    golden = '{"273158": [[1, 1279]], "273302": [[1, 459], [461, 500]]}'
    events = ((273158, 1279), (273158, 1280), (273302, 460), (273302, 461), (1, 1))
    assert good(tmp_path, *events, golden=golden) == [True, False, False, True, False]


def test_an_atlas_xml_file_is_read(tmp_path: Path) -> None:
    events = ((276262, 51), (276262, 144), (276262, 249), (276329, 652), (276329, 51))
    assert good(tmp_path, *events, grl=GRL) == [True, False, True, True, False]


def test_several_lists_certify_together(tmp_path: Path) -> None:
    events = ((276262, 51), (1, 1), (2, 1))
    assert good(tmp_path, *events, grl=GRL, golden='{"1": [[1, 1]]}') == [True, True, False]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no list",
        "[]",
        "{}",
        '{"1": [[2, 1]]}',
        '{"1": [[1]]}',
        '{"1": 3}',
        '{"run": [[1, 2]]}',
        '{"1": [[-1, 2]]}',
        "<LumiRangeCollection/>",
        "<LumiRangeCollection>",
        "<a><LumiBlockCollection><LBRange Start='1' End='2'/></LumiBlockCollection></a>",
        "<html/>",
    ],
)
def test_what_is_no_list_is_an_error_with_its_path(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"good_run_lists: .*bad"):
        good(tmp_path, (1, 1), bad=text)


def test_a_list_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"good_run_lists: .*gone.json cannot be read"):
        read_good_runs((str(tmp_path / "gone.json"),))
