"""What each method of the pages noisy-labels, imbalance and data rests on: `python Tests/Python/evidence.py` lists it.

Of each: a test of the properties that its page states, its trace (a computation of the same in NumPy, or another
program's), and where its claim on real data is measured over five seeds or more. A place is file::function, `study NAME`
for a row of that study's tables, or `experiment NAME::function` for a part of an experiment; test_evidence.py sees that
the method stands there. What the issue names beside the pages has no properties of a page but those of its trace. Losses
have theirs in test_formulas.py, test_losses.py and `study losses`, like all losses of the catalogue.
"""

import temper

AREAS = ("noisy-labels", "imbalance", "data")
KINDS = ("procedure", "sampler", "generator", "detector", "calibrator", "metric", "op", "layer")

STEPS, PLAIN = "test_procedures.py::test_steps", "test_procedures.py::test_what_is_left_is_plain_training"
OWN, CURATION = "test_procedure_properties.py::test_", "test_curation_properties.py::test_"
WRONG, RARE = "study noisy-labels", "study imbalance"
NOISE, DATA, TEXTS, CURATED = (f"experiment {name}_behaviour_study::_" for name in ("noise", "data", "text", "curation"))
SAMPLERS, GENERATORS, LABELS, CALIBRATORS, CROWDS, STRUCTURE, GRAPHS, GROUPS = (
    f"test_{name}.py::test_" for name in (
        "samplers", "generators", "label_errors", "calibrators", "crowd", "structure", "graphs", "graph_groups")
)  # fmt: skip
FORMULAS = "formulas_of_operators.py::"
TRACES = "test_traces_of_arrays.py::test_"


def both(place, claim):
    """Properties and trace stand in one test."""
    return place, place, claim


# Name: (properties, trace, claim).
EVIDENCE = {
    # Procedures: the parameters of all networks, step by step.
    "adaptive_k": (PLAIN, STEPS, WRONG),
    "alim": (OWN + "candidates_that_say_nothing_or_all", STEPS, CURATED + "candidates"),
    "bag_of_multilabel_descriptors": (
        CURATION + "labels_stay_where_neighbours_do_not_count", STEPS, CURATION + "mended_labels_are_nearer_the_truth"
    ),
    "confidence_filter_and_rectify": (
        CURATION + "confidence_drops_half_or_nothing", STEPS, CURATION + "labels_that_are_left_out_are_wrong"
    ),
    "enhanced_meta_label_correction": (OWN + "the_slope_of_a_step_by_its_labels", STEPS, WRONG),
    "erase": (CURATION + "rates_of_one_class_and_of_many", STEPS, WRONG),
    "imbalanced_semi_self": (OWN + "guesses_without_weight_are_no_guesses", STEPS, CURATED + "unlabelled"),
    "late_stopping": (OWN + "nothing_is_dropped_where_all_may_stay", STEPS, WRONG),
    "linear_separation_alternating": (CURATION + "a_plane_parts_what_losses_found", STEPS, CURATED + "strangers"),
    "multi_encoder_backdoor_adjustment": (OWN + "one_encoder_is_logit_adjustment", STEPS, RARE),
    "nested_co_teaching": (CURATION + "nothing_is_left_out_without_a_share", STEPS, WRONG),
    "pairwise_match_then_community": (
        GROUPS + "a_push_of_nothing_is_the_plain_contrast", STEPS, CURATED + "typos"
    ),
    "rcal_representation_calibration": (
        CURATION + "moments_of_large_classes_are_their_own", STEPS, CURATED + "rare_and_wrong"
    ),
    "reward_model_data_filter": (
        CURATION + "rewards_are_recovered_and_items_chosen", STEPS, CURATION + "a_learned_reward_finds_the_right_pairs"
    ),
    "rotation_consistency_decoupling": (PLAIN, STEPS, WRONG),
    "storm_meta_loss_rescaling": (PLAIN, STEPS, WRONG),
    "tram_privileged": (OWN + "the_trunk_learns_from_the_privileged_head_alone", STEPS, CURATED + "privileged"),
    # And those beside the pages.
    "bilateral_branch": both(STEPS, CURATION + "two_branches_know_rare_classes_better"),
    **{name: both(STEPS, WRONG) for name in (
        "co_teaching", "co_teaching_plus", "decoupling", "divide_mix", "elr_plus", "estimated_transition", "jocor",
        "learning_to_reweight", "mentor_weights", "meta_weight_net", "small_loss", "sop", "volume_minimization")},
    **{name: both(STEPS, RARE) for name in (
        "class_balanced_sampling", "classifier_retraining", "deferred_reweighting", "progressively_balanced_sampling",
        "tau_normalization")},
    # Samplers.
    "adasyn": both(SAMPLERS + "adasyn_goes_where_others_are", RARE),
    "borderline_smote": both(SAMPLERS + "borderline_starts_in_danger", RARE),
    "class_balanced_sampler": both(SAMPLERS + "class_balanced_chances", NOISE + "drawn"),
    "edited_nearest_neighbours": both(SAMPLERS + "cleaning_is_that_of_imbalanced_learn", RARE),
    "missing_skill_reweighting": both(SAMPLERS + "missing_skills", DATA + "missed_skills"),
    "noisy_test_debiasing_memory": (
        SAMPLERS + "the_memory_of_a_stream_becomes_clean_and_even", TRACES + "the_memory_follows_its_rule",
        SAMPLERS + "the_memory_of_a_stream_of_digits_is_clean",
    ),
    "progressively_balanced_sampler": both(SAMPLERS + "class_balanced_chances", NOISE + "drawn"),
    "random_oversampler": both(SAMPLERS + "oversampling_fills_classes", RARE),
    "random_undersampler": both(SAMPLERS + "undersampling_thins_classes", RARE),
    "smote": (
        SAMPLERS + "smote_lies_between_neighbours",
        SAMPLERS + "smote_of_the_same_pairs_is_that_of_imbalanced_learn", RARE,
    ),
    "smote_nc": both(SAMPLERS + "nominal_features_stay_what_they_are", NOISE + "samplers"),
    "sparse_uniform_replay": (
        SAMPLERS + "sparse_replay_covers_all_shells", TRACES + "sparse_replay_step_by_step",
        SAMPLERS + "replay_of_all_shells_remembers_digits",
    ),
    "svm_smote": both(SAMPLERS + "support_vectors_begin_the_lines", NOISE + "samplers"),
    "tomek_links": both(SAMPLERS + "cleaning_is_that_of_imbalanced_learn", RARE),
    # Generators: what they draw is held to its distribution, the rest to what it says of itself.
    "asymmetric_noise": both(GENERATORS + "noise_by_a_given_matrix", NOISE + "costs"),
    "diluted_label_noise": both(GENERATORS + "dilution", DATA + "diluted"),
    "distractor_word_problems": both(GENERATORS + "word_problems", DATA + "told_apart"),
    "feature_noise": both(GENERATORS + "feature_noise_and_outliers", NOISE + "costs"),
    "instance_dependent_noise": both(GENERATORS + "noise_of_instances", NOISE + "costs"),
    "long_tail": both(GENERATORS + "long_tails", NOISE + "costs"),
    "mesh_candidate_bestfit": both(GENERATORS + "pages_without_overlap", DATA + "pages"),
    "open_set_noise": both(GENERATORS + "open_set_noise", NOISE + "costs"),
    "outliers": both(GENERATORS + "feature_noise_and_outliers", NOISE + "costs"),
    "pair_noise": both(GENERATORS + "noise_by_matrix", NOISE + "costs"),
    "pairwise_match_then_community_rows": (
        GENERATORS + "altered_rows", GENERATORS + "rows_of_a_table", CURATED + "typos"
    ),
    "random_ksat_text_generator": both(GENERATORS + "satisfiability", TEXTS + "threshold"),
    "real_label_noise_benchmark": both(GENERATORS + "weak_annotators", DATA + "annotated"),
    "simplicity_bias_slabs": both(GENERATORS + "slabs", DATA + "slabs"),
    "symmetric_noise": both(GENERATORS + "noise_by_matrix", NOISE + "costs"),
    "traced_integer_noise_generator": (
        GENERATORS + "dynamic_noise_goes_on", GENERATORS + "traces_of_arithmetic", TEXTS + "worked"
    ),
    # Detectors.
    **{name: both(LABELS + "courses_of_training", WRONG) for name in ("aum", "data_maps", "forget_events")},
    "confident_learning": (
        LABELS + "pruning_by_confident_learning", LABELS + "the_joint_of_confident_learning", WRONG
    ),
    "confident_learning_test_audit": both(LABELS + "audit_of_a_test_set", DATA + "memorised"),
    "k_means": both(STRUCTURE + "k_means", NOISE + "strange"),
    "local_outlier_factor": both(STRUCTURE + "local_outlier_factors", NOISE + "strange"),
    "loss_mixture": (STRUCTURE + "beta_mixture", STRUCTURE + "gaussian_mixture", WRONG),
    "nearest_neighbours": both(STRUCTURE + "neighbours", NOISE + "strange"),
    "principal_components": both(STRUCTURE + "principal_components", NOISE + "strange"),
    "tabasco": (LABELS + "tabasco", TRACES + "tabasco_step_by_step", DATA + "found_in_the_tail"),
    "tracin_influence": both(LABELS + "influence", WRONG),
    # Calibrators and metrics.
    "anchor_point_transition": both(CALIBRATORS + "anchors_and_two_steps", NOISE + "matrices"),
    "dual_t_transition": both(CALIBRATORS + "anchors_and_two_steps", NOISE + "matrices"),
    "noise_matrix_expected_error": both(CALIBRATORS + "the_error_of_a_counted_matrix", DATA + "counted_matrix"),
    "prior_correction": both(CALIBRATORS + "priors", DATA + "steps"),
    "relative_signal_strength": both(CALIBRATORS + "relative_signal_strength", DATA + "past_the_turn"),
    "transition_matrix_from_three_labels": both(
        CALIBRATORS + "three_labels_identify_the_matrix", DATA + "three_labels"
    ),
    # Operators over votes, graphs and texts.
    "dawid_skene": (CROWDS + "each_model_of_workers_has_an_entry", CROWDS + "dawid_skene_climbs", NOISE + "crowds"),
    "glad": (CROWDS + "each_model_of_workers_has_an_entry", TRACES + "glad_step_by_step", NOISE + "crowds"),
    "label_propagation": both(CROWDS + "labels_spread_over_the_graph", NOISE + "spread"),
    "label_weighted_flow_diffusion": (
        GRAPHS + "the_conditions_of_a_minimum", GRAPHS + "projected_gradients_find_the_same",
        GRAPHS + "labels_keep_mass_inside_its_cluster",
    ),
    "mace": (CROWDS + "each_model_of_workers_has_an_entry", TRACES + "mace_step_by_step", NOISE + "crowds"),
    "majority_vote": both(CROWDS + "each_model_of_workers_has_an_entry", DATA + "soft_labels"),
    "pairwise_match_then_community_groups": (
        GROUPS + "cliques_are_groups", GROUPS + "modularity_is_as_high_as_elsewhere",
        GROUPS + "one_false_link_does_not_join_communities",
    ),
    "perplexity_filter_and_greedy_soup": both(FORMULAS + "perplexity_filter_and_greedy_soup", TEXTS + "filtered"),
    "perplexity_filter_and_greedy_soup_soup": both(FORMULAS + "perplexity_filter_and_greedy_soup_soup", TEXTS + "soups"),
    "soft_label_ensemble": (CROWDS + "the_average_is_the_weighted_mean", CROWDS + "closed_forms", DATA + "soft_labels"),
    "toptwo_crowdsourcing": (
        CROWDS + "sure_workers_tell_the_split", TRACES + "two_answers_step_by_step", NOISE + "confused"
    ),
    "toptwo_crowdsourcing_reliability": (
        CROWDS + "top_two_answers", TRACES + "two_answers_step_by_step", CROWDS + "top_two_answers"
    ),
    # Layers, and what chooses among their features.
    "label_wise_attention_ldam": (
        "test_layer_formulas.py::test_pooling_leaves_padding_out",
        "test_layer_formulas.py::test_label_wise_attention", TEXTS + "rare_labels",
    ),
    "nested_dropout": (
        "test_layer_claims.py::test_nested_dropout_orders_features_like_pca",
        TRACES + "cuts_of_nested_dropout", "test_layer_claims.py::test_nested_dropout_resists_label_noise",
    ),
    "nested_dropout_prefix": both(
        "test_layer_formulas.py::test_nested_dropout_prefix",
        "test_layer_claims.py::test_nested_dropout_resists_label_noise",
    ),
}  # fmt: skip


def methods():
    """The records that need evidence."""
    return [record for record in temper.catalog() if record["area"] in AREAS and record["kind"] in KINDS]


if __name__ == "__main__":
    for record in methods():
        words = ("properties", "trace", "claim")
        print(record["name"], f"({record['kind']})")
        for word, place in zip(words, EVIDENCE.get(record["name"], ("missing",) * 3)):
            print(f"    {word:11}{place}")
