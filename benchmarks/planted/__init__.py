"""Trainings with a planted fault, and healthy ones: what the doctor is measured on."""

from benchmarks.planted.faults_of_data import FAULTS_OF_DATA
from benchmarks.planted.faults_of_plans import FAULTS_OF_PLANS
from benchmarks.planted.faults_of_teachers import FAULTS_OF_TEACHERS
from benchmarks.planted.faults_of_terms import FAULTS_OF_TERMS
from benchmarks.planted.healthy import HEALTHY
from benchmarks.planted.shipped import SHIPPED

FAULTS = (*FAULTS_OF_TEACHERS, *FAULTS_OF_TERMS, *FAULTS_OF_DATA, *FAULTS_OF_PLANS)
