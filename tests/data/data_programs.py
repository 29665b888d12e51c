"""Programs as agents write them to analyse data, by name. What they print is the same each time."""

from __future__ import annotations

from typing import Final

from tests.data.programs import PROGRAMS

DATA_PROGRAMS: Final = {
    "numpy": PROGRAMS["27_numpy"],
    "pandas": PROGRAMS["28_pandas"],
    "try_import": PROGRAMS["45_try_import"],
    "linear_algebra": """\
import numpy as np

rng = np.random.default_rng(42)
a = rng.normal(size=(4, 4))
q, r = np.linalg.qr(a)
print(np.allclose(q @ r, a), np.round(np.linalg.det(a), 4))
print(np.linalg.solve(np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([9.0, 8.0])))
print(np.fft.rfft([1, 0, 0, 0]).real, np.percentile([1, 2, 3, 4], 75))
""",
    "sales_report": """\
import io

import pandas as pd

raw = "date,region,units,price\\n2024-01-03,north,5,2.5\\n2024-01-17,south,7,3.0\\n2024-02-02,north,,2.5\\n2024-02-20,south,4,3.5\\n"
df = pd.read_csv(io.StringIO(raw), parse_dates=["date"])
df["units"] = df["units"].fillna(df["units"].mean())
df["revenue"] = df["units"] * df["price"]
monthly = df.pivot_table(index=df["date"].dt.to_period("M"), columns="region", values="revenue", aggfunc="sum")
print(monthly.round(2).to_string())
print(df.describe().round(3).to_string())
print(df.dtypes.to_string())
""",
    "merge": """\
import pandas as pd

people = pd.DataFrame({"id": [1, 2, 3], "name": ["Ann", "Bob", "Cyd"]})
orders = pd.DataFrame({"person": [1, 1, 3, 9], "total": [10.0, 5.5, 7.25, 1.0]})
joined = people.merge(orders, left_on="id", right_on="person", how="outer", indicator=True)
print(joined[["name", "total", "_merge"]].to_string(index=False))
print(joined.groupby("name", dropna=True)["total"].agg(["count", "sum"]).to_json())
""",
    "workbook": """\
import pandas as pd
from openpyxl import load_workbook

pd.DataFrame({"quarter": ["Q1", "Q2"], "profit": [1.5, -0.25]}).to_excel("report.xlsx", index=False, sheet_name="2024")
sheet = load_workbook("report.xlsx")["2024"]
print([[cell.value for cell in row] for row in sheet.iter_rows()])
print(pd.read_excel("report.xlsx").equals(pd.DataFrame({"quarter": ["Q1", "Q2"], "profit": [1.5, -0.25]})))
""",
    "regression": """\
import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

x = np.arange(40).reshape(-1, 1)
y = 3 * x.ravel() + 2
x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)
model = LinearRegression().fit(x_train, y_train)
print(np.round(model.coef_, 6), round(float(model.intercept_), 6), round(model.score(x_test, y_test), 6))
""",
    "picture": """\
from PIL import Image, ImageDraw

image = Image.new("RGB", (40, 30), "white")
ImageDraw.Draw(image).rectangle((5, 5, 15, 15), fill=(200, 0, 0))
image.save("square.png")
again = Image.open("square.png")
print(again.size, again.mode, again.getpixel((10, 10)), again.getbbox(), sorted(again.getcolors()))
""",
    "saved_plot": """\
import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(4, 3))
ax.bar(["a", "b"], [3, 5])
ax.set_title("Bars")
fig.savefig("bars.png", dpi=50)
plt.close(fig)
print(open("bars.png", "rb").read(8), fig.get_size_inches())
""",
    "missing_column": """\
import pandas as pd

df = pd.DataFrame({"a": [1]})
print(df["b"])
""",
}

CHART: Final = """\
import matplotlib.pyplot as plt
import pandas as pd

df = pd.DataFrame({"month": ["Jan", "Feb", "Mar"], "sales": [120, 90, 150]}).set_index("month")
df.plot(kind="bar", title="Sales")
plt.tight_layout()
plt.show()
df
"""
