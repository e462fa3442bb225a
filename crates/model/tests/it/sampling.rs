//! The choice of tokens: what settings mean, how often a token comes, and what is refused.

use proptest::prelude::*;
use selvedge_model::{CounterRng, Error, Sampler, Sampling};

/// Temperature and top-k by the definition: everything sorted, weights summed from the likeliest down.
fn sorted_pick(sampling: &Sampling, logits: &[f32], position: u64) -> u32 {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    if sampling.temperature == 0.0 {
        return order[0] as u32;
    }
    order.truncate(if sampling.top_k == 0 { logits.len() } else { sampling.top_k });
    let highest = f64::from(logits[order[0]]);
    let weigh = |&i: &usize| libm::exp((f64::from(logits[i]) - highest) / f64::from(sampling.temperature));
    let weights: Vec<f64> = order.iter().map(weigh).collect();
    let unit = (CounterRng::new(sampling.seed, 0x5A3C).at(position) >> 11) as f64 / (1u64 << 53) as f64;
    let mut left = unit * weights.iter().sum::<f64>();
    let chosen = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    order[chosen.unwrap_or(0)] as u32
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&x| f64::from(x - highest).exp()).sum();
    logits.iter().map(|&x| f64::from(x - highest) - total.ln()).collect()
}

fn noise(count: usize, seed: u64) -> Vec<f32> {
    let rng = CounterRng::new(seed, 3);
    (0..count as u64).map(|i| (rng.at(i) % 4001) as f32 / 400.0 - 5.0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn draws_are_those_of_a_full_sort(
        logits in prop::collection::vec(prop_oneof![-8.0_f32..8.0, Just(f32::NEG_INFINITY), Just(2.0)], 1..800),
        temperature in prop_oneof![Just(0.0_f32), 0.05_f32..30.0],
        top_k in prop_oneof![Just(0_usize), 1_usize..900],
        seed in any::<u64>(),
    ) {
        prop_assume!(logits.iter().any(|x| x.is_finite()));
        let sampling = Sampling { temperature, top_k, seed, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling.clone(), logits.len()).unwrap();
        for position in 0..20 {
            let want = sorted_pick(&sampling, &logits, position);
            prop_assert_eq!(sampling.pick(&logits, position), want);
            prop_assert_eq!(sampler.sample(&logits, position).unwrap().token, want);
        }
    }

    #[test]
    fn log_probabilities_are_those_of_the_logits_as_given(
        logits in prop::collection::vec(prop_oneof![4 => -30.0_f32..30.0, 1 => Just(f32::NEG_INFINITY)], 2..200),
        top_logprobs in 0_usize..30,
        temperature in 0.0_f32..2.0,
    ) {
        prop_assume!(logits.iter().any(|x| x.is_finite()));
        let want = log_softmax(&logits);
        let mut order: Vec<usize> = (0..logits.len()).filter(|&i| logits[i].is_finite()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        order.truncate(top_logprobs);
        let settings = Sampling {
            temperature, top_logprobs: Some(top_logprobs), top_p: 0.9, logit_bias: vec![(1, 3.0)], ..Sampling::default()
        };
        let choice = Sampler::new(settings, logits.len()).unwrap().sample(&logits, 0).unwrap();
        let near = |got: f32, token: u32| (f64::from(got) - want[token as usize]).abs() < 1e-5;
        prop_assert!(near(choice.logprob.unwrap(), choice.token));
        prop_assert_eq!(choice.top.iter().map(|top| top.0 as usize).collect::<Vec<_>>(), order);
        prop_assert!(choice.top.iter().all(|&(token, logprob)| near(logprob, token)));
    }

    #[test]
    fn no_logits_and_no_settings_panic(
        bits in prop::collection::vec(any::<u32>(), 0..40),
        [temperature, typical, top_p, min_p, bias] in prop::array::uniform5(any::<u32>().prop_map(f32::from_bits)),
        top_k in any::<usize>(), token in 0_u32..50,
    ) {
        let logits: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let settings = Sampling {
            temperature, top_k, typical, top_p, min_p, logit_bias: vec![(token, bias)], ..Sampling::default()
        };
        prop_assert!(settings.pick(&logits, 1) as usize <= logits.len().saturating_sub(1));
        if let Ok(mut sampler) = Sampler::new(settings, logits.len())
            && let Ok(choice) = sampler.sample(&logits, 1)
        {
            prop_assert!(logits[choice.token as usize].is_finite());
        }
    }
}

/// Settings, some of each stage on and some off.
fn settings() -> impl Strategy<Value = Sampling> {
    fn or_off(off: f32, on: std::ops::Range<f32>) -> impl Strategy<Value = f32> {
        prop_oneof![Just(off), on]
    }
    (
        (or_off(0.0, 0.1..3.0), prop_oneof![Just(0_usize), 1_usize..40], or_off(1.0, 0.1..1.0)),
        (or_off(1.0, 0.1..1.0), or_off(0.0, 0.01..0.9), or_off(1.0, 0.6..1.6)),
        (or_off(0.0, -1.0..1.0), or_off(0.0, -1.0..1.0), any::<u64>()),
        prop::collection::vec((0_u32..70, prop_oneof![Just(f32::NEG_INFINITY), -3.0_f32..3.0]), 0..4),
    )
        .prop_map(|(first, second, third, logit_bias)| Sampling {
            temperature: first.0,
            top_k: first.1,
            typical: first.2,
            top_p: second.0,
            min_p: second.1,
            repetition_penalty: second.2,
            presence_penalty: third.0,
            frequency_penalty: third.1,
            seed: third.2,
            logit_bias,
            top_logprobs: Some(3),
            ..Sampling::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_set_of_tokens_is_as_if_the_logits_of_others_were_not_there(
        settings in settings(),
        logits in prop::collection::vec(prop_oneof![8 => -6.0_f32..6.0, 1 => Just(f32::NEG_INFINITY)], 70),
        // The last word has bits beyond the vocabulary.
        allowed in prop::array::uniform3(prop_oneof![any::<u32>(), any::<u32>().prop_map(|bits| bits & bits >> 3 & bits >> 7), Just(0)]),
    ) {
        let inside = |token: u32| allowed[token as usize / 32] >> (token % 32) & 1 == 1;
        let masked: Vec<f32> =
            (0..).zip(&logits).map(|(token, &x)| if inside(token) { x } else { f32::NEG_INFINITY }).collect();
        let mut among = Sampler::new(settings.clone(), 70).unwrap();
        let (mut alone, mut raw) = (among.clone(), Sampler::new(settings, 70).unwrap());
        among.prompt(&[5, 64, 5]).unwrap();
        alone.prompt(&[5, 64, 5]).unwrap();
        for position in 0..8 {
            match (among.sample_among(&logits, &allowed, position), alone.sample(&masked, position)) {
                (Ok(choice), Ok(want)) => {
                    prop_assert!(inside(choice.token));
                    prop_assert_eq!(choice.token, want.token);
                    // The model's own opinion is told, not that of what was left of it.
                    if let Ok(free) = raw.sample(&logits, position) {
                        prop_assert_eq!(&choice.top, &free.top);
                    }
                    let want = log_softmax(&logits)[choice.token as usize];
                    prop_assert!((f64::from(choice.logprob.unwrap()) - want).abs() < 1e-5);
                }
                (Err(Error::NoTokenAllowed), Err(Error::AllTokensBanned)) => break,
                (got, want) => prop_assert!(false, "{:?} and {:?}", got, want),
            }
        }
    }
}

#[test]
fn sets_of_another_size_are_refused() {
    let mut sampler = Sampler::new(Sampling::default(), 33).unwrap();
    for found in [0, 1, 3] {
        let error = sampler.sample_among(&[0.0; 33], &vec![1; found], 0).unwrap_err();
        assert!(matches!(error, Error::MaskLength { words: 2, vocab: 33, .. }), "{error}");
    }
    // Token 33 there is not.
    let error = sampler.sample_among(&[0.0; 33], &[0, 0b10], 0).unwrap_err();
    assert!(matches!(error, Error::NoTokenAllowed), "{error}");
    assert_eq!(sampler.sample_among(&[0.0; 33], &[0, 0b11], 0).unwrap().token, 32);
    let mut logits = [0.0; 33];
    logits[7] = f32::NAN;
    assert!(matches!(sampler.sample_among(&logits, &[1, 0], 0), Err(Error::Logit { token: 7, .. })));
}

/// Σ (seen − expected)² / expected, over tokens of some probability; the others must not occur.
fn chi_square(settings: &Sampling, logits: &[f32], expected: &[f64]) -> f64 {
    const DRAWS: u64 = 20_000;
    let mut counts = vec![0_u32; logits.len()];
    for position in 0..DRAWS {
        counts[settings.pick(logits, position) as usize] += 1;
    }
    counts.iter().zip(expected).fold(0.0, |sum, (&count, &p)| {
        if p == 0.0 {
            assert_eq!(count, 0, "a token that was filtered out");
            return sum;
        }
        let expected = p * DRAWS as f64;
        sum + (f64::from(count) - expected).powi(2) / expected
    })
}

#[test]
fn tokens_come_as_often_as_their_probabilities_say() {
    let logits = [1.0_f32, -0.5, 0.25, 2.0, 0.0, -1.0, 1.5, f32::NEG_INFINITY];
    let share = |temperature: f32, kept: &[usize]| {
        let weigh = |i: usize| if kept.contains(&i) { f64::from(logits[i] / temperature).exp() } else { 0.0 };
        let weights: Vec<f64> = (0..logits.len()).map(weigh).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect::<Vec<f64>>()
    };
    let plain = Sampling { seed: 5, ..Sampling::default() };
    // The likeliest four have 0.414, 0.251, 0.152 and 0.072 of all.
    for (settings, expected) in [
        (plain.clone(), share(1.0, &[0, 1, 2, 3, 4, 5, 6])),
        (Sampling { temperature: 2.5, ..plain.clone() }, share(2.5, &[0, 1, 2, 3, 4, 5, 6])),
        (Sampling { top_k: 3, ..plain.clone() }, share(1.0, &[3, 6, 0])),
        // Filters come before the temperature: it does not change what they keep.
        (Sampling { top_p: 0.7, temperature: 3.0, ..plain.clone() }, share(3.0, &[3, 6, 0])),
        (Sampling { min_p: 0.5, temperature: 3.0, ..plain.clone() }, share(3.0, &[3, 6])),
    ] {
        let found = chi_square(&settings, &logits, &expected);
        // Seven tokens have six degrees of freedom: more than 22.5 comes once in a thousand seeds.
        assert!(found < 22.5, "{found} with {settings:?}");
    }
    let wrong = chi_square(&plain, &logits, &share(1.1, &[0, 1, 2, 3, 4, 5, 6]));
    assert!(wrong > 45.0, "a temperature that is off by a tenth is seen: {wrong}");
}

#[test]
fn penalties_and_biases_move_the_choice() {
    let greedy = |settings: Sampling, logits: &[f32], count: u64| {
        let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..settings }, logits.len()).unwrap();
        sampler.prompt(&[3]).unwrap();
        (0..count).map(|position| sampler.sample(logits, position).unwrap().token).collect::<Vec<u32>>()
    };
    let off = Sampling::default();
    let logits = [2.0, 1.0, -1.0, 2.5];
    assert_eq!(greedy(off.clone(), &logits, 3), [3, 3, 3]);
    // 2.5 / 1.5 is less than 2, and 2 / 1.5 less than that.
    let repetition = Sampling { repetition_penalty: 1.5, ..off.clone() };
    assert_eq!(greedy(repetition.clone(), &logits, 4), [0, 3, 3, 3]);
    // A window of one token sees only the last.
    let window = Sampling { last_n: Some(1), ..repetition };
    assert_eq!(greedy(window.clone(), &logits, 4), [0, 3, 0, 3]);
    assert_eq!(greedy(Sampling { last_n: Some(0), ..window }, &logits, 2), [3, 3]);
    // The prompt does not count: 2.5 is chosen, falls to 1.9 once and for all, and 2 falls to 1.4.
    let presence = Sampling { presence_penalty: 0.6, ..off.clone() };
    assert_eq!(greedy(presence, &logits, 4), [3, 0, 3, 3]);
    // 2.5 and 1.9 and 1.3 against 2 and 1.4: each falls with every time it is chosen.
    let frequency = Sampling { frequency_penalty: 0.6, ..off.clone() };
    assert_eq!(greedy(frequency, &logits, 5), [3, 0, 3, 0, 3]);
    let bias = Sampling { logit_bias: vec![(3, f32::NEG_INFINITY), (1, 0.75), (1, 0.5)], ..off };
    assert_eq!(greedy(bias, &logits, 2), [1, 1]);
}

#[test]
fn a_cleared_sampler_is_a_new_one_and_accepted_tokens_count() {
    let logits = noise(300, 1);
    let settings = Sampling {
        top_k: 40,
        top_p: 0.95,
        repetition_penalty: 1.2,
        last_n: Some(8),
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        seed: 9,
        ..Sampling::default()
    };
    let draw = |sampler: &mut Sampler| {
        (0..30).map(|at| sampler.sample(&logits, at).unwrap().token).collect::<Vec<u32>>()
    };
    let mut sampler = Sampler::new(settings.clone(), 300).unwrap();
    let first = draw(&mut sampler);
    assert_ne!(draw(&mut sampler), first);
    sampler.clear();
    assert_eq!(draw(&mut sampler), first);
    // Tokens that were put there are as good as chosen ones.
    let mut told = Sampler::new(settings, 300).unwrap();
    told.accept(&first[..12]).unwrap();
    let rest: Vec<u32> = (12..30).map(|at| told.sample(&logits, at).unwrap().token).collect();
    assert_eq!(rest, first[12..]);
}

#[test]
fn what_cannot_be_sampled_is_refused_and_changes_nothing() {
    let settings = Sampling { temperature: 0.0, presence_penalty: 5.0, ..Sampling::default() };
    let mut sampler = Sampler::new(settings.clone(), 3).unwrap();
    let error = sampler.sample(&[0.0; 4], 0).unwrap_err();
    assert!(matches!(error, Error::LogitsLength { found: 4, vocab: 3 }), "{error}");
    for wrong in [f32::NAN, -f32::NAN, f32::INFINITY] {
        let error = sampler.sample(&[1.0, wrong, wrong], 0).unwrap_err();
        assert!(matches!(error, Error::Logit { token: 1, .. }), "{error}");
    }
    let error = sampler.sample(&[f32::NEG_INFINITY; 3], 0).unwrap_err();
    assert!(matches!(error, Error::AllTokensBanned), "{error}");
    let error = sampler.prompt(&[0, 3]).unwrap_err();
    assert!(matches!(error, Error::TokenOutsideVocabulary { token: 3, vocab: 3 }), "{error}");
    assert!(sampler.accept(&[0, 9]).is_err());
    assert_eq!(sampler.sample(&[2.0, 1.0, 0.0], 0).unwrap().token, 0);

    let banned = Sampling { logit_bias: (0..3).map(|t| (t, f32::NEG_INFINITY)).collect(), ..settings };
    let error = Sampler::new(banned.clone(), 3).unwrap().sample(&[0.0; 3], 0).unwrap_err();
    assert!(matches!(error, Error::AllTokensBanned), "{error}");
    let error = Sampler::new(banned, 2).unwrap_err();
    assert!(matches!(error, Error::Sampling { field: "logit_bias", .. }), "{error}");
    assert!(Sampler::new(Sampling { top_p: 2.0, ..Sampling::default() }, 3).is_err());
    assert_eq!(Sampling::default().pick(&[], 0), 0);
    assert_eq!(Sampling::default().pick(&[0.0, 1.0, f32::NAN, f32::NAN], 0), 2);
}

#[test]
fn the_numbers_are_pinned() {
    // The same on every machine, and what a program in Python finds that sorts everything. Another sequence here is
    // another result for every user's seed.
    let logits = noise(1000, 7);
    let all = Sampling {
        temperature: 1.3,
        top_k: 200,
        typical: 0.95,
        top_p: 0.9,
        min_p: 0.01,
        repetition_penalty: 1.1,
        last_n: Some(4),
        presence_penalty: 0.5,
        frequency_penalty: 0.5,
        logit_bias: vec![(17, 4.0), (18, -4.0)],
        top_logprobs: Some(1),
        seed: 42,
    };
    let mut sampler = Sampler::new(all, 1000).unwrap();
    let choices: Vec<_> = (0..8).map(|position| sampler.sample(&logits, position).unwrap()).collect();
    assert_eq!(
        choices.iter().map(|choice| choice.token).collect::<Vec<_>>(),
        [909, 116, 368, 923, 621, 138, 339, 588]
    );
    assert_eq!((choices[0].logprob, &choices[0].top[..]), (Some(-5.4405427), &[(156, -4.673043)][..]));
}
