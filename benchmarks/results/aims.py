"""What presets that were tuned here should reach; docs/results.md tells when the aims were set, and by what.

An aim is a text: a number behind ≥ or ≤, the first and last number of a range, or a share of another row or column of
its table, which benchmarks.results.tables computes.
"""

AIMS = {
    'gaussian_mixture': {
        'calibrated': {
            'log_likelihood': '≥ −1.6', 'kl_generator_data': '≤ 0.3', 'hq_2sigma': '≥ 0.82', 'coverage': '≥ 0.93',
            'mode_kl': '≤ 0.004'},
        'density': {'log_likelihood': '≥ −1.45', 'kl_energy_data': '≤ 0.05', 'kl_generator_data': '≤ 0.15'},
        'density, refined': {
            'log_likelihood': '≥ −1.45', 'kl_energy_data': '≤ 0.05', 'kl_generator_data': '≤ 0.1',
            'hq_2sigma': '0.855 to 0.885', 'entropy_knn': '1.38 to 1.46', 'coverage': '≥ 0.96'}},
    'swiss_roll': {
        'calibrated': {'within_0.1': '≥ 0.95', 'coverage': '≥ 0.85'},
        'density, refined': {'within_0.1': '≥ 0.99', 'coverage': '≥ 0.95'}},
    'mnist': {
        'calibrated': {'class_kl': '≤ 0.05', 'frechet': '≤ a third of `post`'},
        'convolutional': {'class_kl': '≤ 0.03', 'frechet': '≤ 25'}},
    'images': {'calibrated': {'diversity': '≥ 0.9', 'coverage': '≥ 0.6', 'frechet': '≤ half of `post`'}},
}
