"""Makes martingales.json: what crepes 0.9.1 and online-cp 0.4.0 give for the same scores and p-values.

pip install crepes==0.9.1 online-cp==0.4.0
python martingales.py > martingales.json
"""

import json
from importlib.metadata import version

import numpy as np
from crepes.martingales import semi_online_p_values
from online_cp.martingale import SimpleMixtureMartingale


def martingale(p_values):
    """The value behind each p-value."""
    mixture = SimpleMixtureMartingale()
    for p in p_values:
        mixture.update(p)
    return np.exp(mixture.log_martingale_values[-len(p_values) :]).tolist()


rng = np.random.default_rng(17)
scores = {
    "alike": rng.normal(size=40).round(1),  # rounded: some are the same
    "higher from the 20th on": np.concatenate([rng.normal(size=20), rng.normal(3, 1, size=20)]).round(1),
}
cases = []
for name, values in scores.items():
    p_values = semi_online_p_values(values, seed=1)
    np.random.seed(1)
    draws = np.random.rand(len(values))
    # The sum over all beginnings, by a martingale of online-cp for each.
    evidence = [sum(martingale(p_values[k : n + 1])[-1] for k in range(n + 1)) for n in range(len(p_values))]
    cases.append(
        {
            "name": name,
            "scores": values.tolist(),
            "draws": draws.tolist(),
            "p_values": p_values.tolist(),
            "martingale": martingale(p_values),
            "evidence": evidence,
        }
    )
versions = {library: version(library) for library in ("crepes", "online-cp")}
print(json.dumps({"versions": versions, "cases": cases}, indent=1))
