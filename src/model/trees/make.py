"""Trees trained by scikit-learn, LightGBM and XGBoost, as Eland serializes them, with what these say.

    python -m venv V && V/bin/pip install 'eland[scikit-learn,lightgbm,xgboost]==9.2.0'
    V/bin/python src/model/trees/make.py

Each file: the body of a PUT, documents (features left out are missing), and for each document
`expected`: the predicted number, or the probability of every class. XGBoost computes in floats:
`tolerance` is relative and says so.
"""
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from eland.ml.transformers import get_model_transformer
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor

warnings.filterwarnings("ignore")
HERE = Path(__file__).parent
NAMES = ["alpha", "beta.gamma", "delta"]
rng = np.random.default_rng(7)
X = rng.normal(size=(120, 3)).round(4)
NUMBER = X[:, 0] * 3 + np.sin(X[:, 1]) + rng.normal(size=120) * 0.1
TWO = (X[:, 0] + X[:, 1] > 0).astype(int)
THREE = np.digitize(X[:, 0] + X[:, 2], [-0.7, 0.7])
ASK = rng.normal(size=(8, 3)).round(4)
MISSING = ASK.copy()
MISSING[::2, 0] = np.nan
MISSING[1::3, 2] = np.nan
HOLES = X.copy()
HOLES[::5, 0] = np.nan
HOLES[1::7, 2] = np.nan


def document(row):
    doc = {}
    for name, v in zip(NAMES, row):
        if not np.isnan(v):
            *outer, last = name.split(".")
            at = doc
            for o in outer:
                at = at.setdefault(o, {})
            at[last] = float(v)
    return doc


def save(name, definition, docs, expected, fields=tuple(NAMES), tolerance=1e-12):
    kind = next(iter(definition["trained_model"].values()))["target_type"]
    config = {"regression": {}} if kind == "regression" else {"classification": {"num_top_classes": -1}}
    body = {"input": {"field_names": list(fields)}, "inference_config": config, "definition": definition}
    text = json.dumps({"body": body, "docs": docs, "expected": np.asarray(expected, float).tolist(),
                       "tolerance": tolerance}, indent=None, separators=(",", ":"))
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def trained(name, model, target, ask, expected, data=X, **more):
    model.fit(data, target)
    labels = {"classification_labels": [f"class {i}" for i in range(target.max() + 1)],
              "classification_weights": None} if target.dtype == int else {}
    definition = {"preprocessors": [], "trained_model": get_model_transformer(
        model, feature_names=NAMES, **labels).transform().to_dict()}
    save(name, definition, [document(r) for r in ask], expected(model, ask), **more)


def number(model, ask):
    return model.predict(ask)


def probabilities(model, ask):
    return model.predict_proba(ask)


def forest_probabilities(model, ask):
    """Eland's leaves are logarithms: trees are multiplied, where scikit-learn takes the mean."""
    logs = sum(np.log(np.maximum(t.predict_proba(ask), 1e-300)) for t in model.estimators_)
    p = np.exp(logs - logs.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def encoded():
    """A tree over all three encodings."""
    data = pd.DataFrame({"color": rng.choice(["red", "green", "blue"], 120), "size": rng.choice([1, 2, 30], 120),
                         "shop": rng.choice(["a", "b", "c", "d"], 120)})
    target = (data.color == "red") * 2.0 + data["size"] * 0.1 + (data.shop == "d") * 1.0 + rng.normal(size=120) * 0.05
    hot = OneHotEncoder(sparse_output=False, handle_unknown="ignore").fit(data[["color"]])
    means = target.groupby(data["size"]).mean()
    often = data.shop.value_counts(normalize=True)

    def encode(d):
        return np.column_stack([hot.transform(d[["color"]]), d["size"].map(means).fillna(target.mean()),
                                d.shop.map(often).fillna(0.0)])
    columns = [f"color_{c}" for c in hot.categories_[0]] + ["size_mean", "shop_frequency"]
    model = DecisionTreeRegressor(max_depth=6, random_state=0).fit(encode(data), target)
    ask = pd.DataFrame({"color": ["red", "green", "pink", "blue", "red"], "size": [1, 30, 2, 7, 2],
                        "shop": ["a", "d", "c", "z", "d"]})
    preprocessors = [
        {"one_hot_encoding": {"field": "color", "hot_map": {c: f"color_{c}" for c in hot.categories_[0]}}},
        {"target_mean_encoding": {"field": "size", "feature_name": "size_mean", "default_value": target.mean(),
                                  "target_map": {str(k): v for k, v in means.items()}}},
        {"frequency_encoding": {"field": "shop", "feature_name": "shop_frequency",
                                "frequency_map": {k: v for k, v in often.items()}}}]
    definition = {"preprocessors": preprocessors,
                  "trained_model": get_model_transformer(model, feature_names=columns).transform().to_dict()}
    save("encodings", definition, json.loads(ask.to_json(orient="records")), model.predict(encode(ask)),
         fields=("color", "size", "shop"))


trained("tree_regression", DecisionTreeRegressor(max_depth=5, random_state=0), NUMBER, ASK, number)
trained("tree_classification", DecisionTreeClassifier(max_depth=4, random_state=0), THREE, ASK, probabilities)
trained("forest_regression", RandomForestRegressor(n_estimators=5, max_depth=4, random_state=0), NUMBER, ASK, number)
trained("forest_classification", RandomForestClassifier(n_estimators=5, max_depth=4, random_state=0), THREE, ASK,
        forest_probabilities, tolerance=1e-8)  # Eland's logarithm of 0 is -1e7, which costs digits
quick = {"n_estimators": 6, "num_leaves": 6, "min_child_samples": 5, "n_jobs": 1, "verbose": -1}
trained("lightgbm_regression", LGBMRegressor(**quick), NUMBER, MISSING, number, HOLES)
trained("lightgbm_binary", LGBMClassifier(**quick), TWO, MISSING, probabilities, HOLES)
trained("lightgbm_classes", LGBMClassifier(**quick), THREE, ASK, probabilities)
quick = {"n_estimators": 6, "max_depth": 3, "n_jobs": 1}
trained("xgboost_regression", XGBRegressor(**quick), NUMBER, MISSING, number, HOLES, tolerance=1e-5)
trained("xgboost_binary", XGBClassifier(**quick), TWO, MISSING, probabilities, HOLES, tolerance=1e-5)
encoded()
