"""Tables: CSV files and scikit-learn's data sets, forests and boosted trees as teachers, small networks as students."""

from knowledge_distillation.domains.tabular.bundled import (
    breast_cancer,
    diabetes,
    digits_table,
    iris,
    linnerud,
    wine,
)
from knowledge_distillation.domains.tabular.data import csv_table
from knowledge_distillation.domains.tabular.estimators import Estimator
from knowledge_distillation.domains.tabular.models import tabular_mlp
from knowledge_distillation.domains.tabular.teachers import (
    extra_trees,
    gradient_boosting,
    hist_gradient_boosting,
    random_forest,
)

DATA_SETS = {
    "csv_table": csv_table,
    "breast_cancer": breast_cancer,
    "wine": wine,
    "iris": iris,
    "digits_table": digits_table,
    "diabetes": diabetes,
    "linnerud": linnerud,
}
MODELS = {
    "tabular_mlp": tabular_mlp,
    "gradient_boosting": gradient_boosting,
    "hist_gradient_boosting": hist_gradient_boosting,
    "random_forest": random_forest,
    "extra_trees": extra_trees,
}
