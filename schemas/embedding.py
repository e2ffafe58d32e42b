"""An embedding: the vector of one text of a run. Example row (of a model with four dimensions):

{"table": "prompts", "row_id": "9f0c…", "text_key": "5b0d…", "vector": [0.0361, -0.5, 0.25, 0.7036]}
"""

from typing import Annotated

import pyarrow as pa
from pydantic import Field

from prefloom.schemas.record import Record

Half = pa.list_(pa.field("element", pa.float16(), nullable=False))


class Embedding(Record):
    """The vector of a prompt, a candidate or a persona's description. Equal texts have equal vectors, to the last bit."""

    table: str = Field(description="Where the text stands: prompts, candidates or personas")
    row_id: str = Field(description="The row there")
    text_key: str = Field(description="Hash of the text, by which vectors are stored across runs")
    vector: Annotated[list[float], Half] = Field(description="The vector, 16-bit floats")
